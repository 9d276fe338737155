# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Spoken digits, experiment by experiment
#
# Each cell runs in seconds, on few clips and few epochs: this is for looking and listening. The
# figures that are published, with their seeds and intervals, are in `results/`.
#
# The notebook is made from `notebooks/experiments.py` by `make notebook`; change that file. Sounds
# are left out of the copy in the repository, so **run the cells to hear them**.

# %%
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import SVG, Audio, display

import spoken_digits as sd
from spoken_digits.audio import SAMPLE_RATE, read_audio, to_clip
from spoken_digits.connected import Transcriber
from spoken_digits.lab.augmentation import waveform as waveforms
from spoken_digits.lab.augmentation.policies import POLICIES, augmented_log_mel
from spoken_digits.lab.connected.evaluation import run_network
from spoken_digits.lab.connected.strings import StringStyle, make_strings, read_words
from spoken_digits.lab.data.corpora import best_corpus
from spoken_digits.lab.data.dataset import prepare
from spoken_digits.lab.data.splits import XSDR_TRAIN, split_by_speaker
from spoken_digits.lab.evaluation.embeddings import map_embeddings
from spoken_digits.lab.evaluation.metrics import Predictions, evaluate
from spoken_digits.lab.features import FRONT_ENDS, LogMel, log_mel
from spoken_digits.lab.models import MODELS
from spoken_digits.lab.reporting import figures
from spoken_digits.lab.training.config import TrainConfig
from spoken_digits.lab.training.contrastive import PretrainConfig, fit_probe, pretrain
from spoken_digits.lab.training.supervised import build_network, predict, train
from spoken_digits.spotting import LABELS

torch.set_num_threads(1)
plt.rcParams["figure.dpi"] = 72
WORK = Path(mkdtemp(prefix="spoken-digits-"))
corpus, clips = best_corpus()
if corpus == "fsdd":
    # The two test speakers, lucas and yweweler, are left out: nothing here may be tuned on them.
    clips = tuple(clip for clip in clips if clip.speaker in XSDR_TRAIN)
    print("The recordings of FSDD, CC BY-SA 4.0: people.")
else:
    print("FSDD is not at hand: this is synthetic speech. Numbers say little about people.")
speakers = sorted({clip.speaker for clip in clips})
print(f"{len(clips):,} clips of {len(speakers)} speakers: {', '.join(speakers[:6])} ...")

# %% [markdown]
# ## Listen
#
# One digit, as three people say it.


# %%
def play(samples, title):
    """Show a title and a player."""
    print(title)
    display(Audio(np.asarray(samples), rate=SAMPLE_RATE))


def clip_of(speaker, digit):
    """Return the first clip of a speaker's digit: samples (L,) at 8 kHz."""
    clip = next(c for c in clips if (c.speaker, c.label) == (speaker, digit))
    return to_clip(*read_audio(clip.file))


for speaker in speakers[:3]:
    play(clip_of(speaker, "7"), f"7, {speaker}")

# %% [markdown]
# ## See the spectrogram
#
# What a network gets: 40 mel bands, a frame every 15 ms, on a logarithmic scale, the clip's mean
# removed. Look for the hiss of the "s", high up, and for the gliding bands of the vowels.

# %%
front_end = FRONT_ENDS["ours"]


def picture(ax, spectrogram, title):
    """Draw a log-mel spectrogram (M, T)."""
    seconds = spectrogram.shape[1] * front_end.hop_ms / 1000
    ax.imshow(
        spectrogram, origin="lower", aspect="auto", cmap="cividis", extent=(0, seconds, 0, 40)
    )
    ax.set_title(title, fontsize=9)


figure, axes = plt.subplots(2, 5, figsize=(10, 4), sharey=True, layout="constrained")
for digit, ax in enumerate(axes.flat):
    picture(ax, log_mel(clip_of(speakers[0], str(digit)), front_end), f"{digit}, {speakers[0]}")
axes[0, 0].set_ylabel("mel band")
axes[1, 0].set(ylabel="mel band", xlabel="time, s")
plt.show()

# %% [markdown]
# ## Listen to each augmentation
#
# In time: each is a function of samples, parameters and a generator. They are stronger here than a
# policy has them. `docs/augmentation.md` shows all of them.

# %%
x = torch.from_numpy(clip_of(speakers[0], "7"))[None]  # (B, L), one clip
lengths = torch.tensor([x.shape[1]])
draws = torch.Generator().manual_seed(0)


def one(value):
    """Give a parameter to the one clip: (B,)."""
    return torch.tensor([float(value)])


pink = waveforms.colored_noise(x.shape, draws, one(-1))
room = waveforms.make_responses(draws, one(0.5), one(0))
in_time = {
    "as it is": x,
    "jitter": waveforms.jitter(x, lengths, draws, one(0.02)),
    "pink noise at 5 dB": waveforms.add_noise(x, lengths, pink, one(5)),
    "four semitones up": waveforms.shift_pitch(x, lengths, one(4)),
    "1.3 times as fast, same pitch": waveforms.change_tempo(x, lengths, one(1.3))[0],
    "in a room, RT60 0.5 s": waveforms.reverberate(x, lengths, room),
    "below 1.8 kHz": waveforms.limit_bandwidth(x, lengths, one(1800)),
    "a part dropped": waveforms.drop_time(x, lengths, draws, one(0.4)),
}
for title, samples in in_time.items():
    play(samples[0], title)

figure, axes = plt.subplots(2, 4, figsize=(10, 4), sharey=True, layout="constrained")
for ax, (title, samples) in zip(axes.flat, in_time.items(), strict=True):
    picture(ax, log_mel(samples[0].numpy(), front_end), title)
plt.show()

# %% [markdown]
# In frequency, and whole policies: the same clip as a network may meet it in training.

# %%
log_mels = LogMel(front_end)
some_policies = ("light", "basic", "strong", "robust")
figure, axes = plt.subplots(
    len(some_policies), 3, figsize=(8, 7), sharey=True, layout="constrained"
)
other = torch.from_numpy(clip_of(speakers[1], "2"))
batch = torch.nn.utils.rnn.pad_sequence([x[0], other], batch_first=True)
both = torch.tensor([x.shape[1], len(other)])
for row, name in zip(axes, some_policies, strict=True):
    for ax in row:
        drawn, mask = augmented_log_mel(log_mels, batch, both, POLICIES[name], draws)
        picture(ax, drawn[0, :, : int(mask[0].sum())], name)
plt.show()

# %% [markdown]
# ## The trap: a random split against a split by speaker
#
# Shuffle all clips, test on a fifth of them: every test speaker was in training. Leave a speaker
# out: none was. The same classifier, the same clips; only the second number says how well unseen
# speakers are recognized.

# %%
dataset = prepare(clips, WORK)


def train_and_test(config, train_indices, test_indices, name):
    """Train on some clips, test on others: (network, predictions)."""
    net = train(config, dataset, np.asarray(train_indices), WORK / name, quiet=True)
    scores, _ = predict(net, dataset, np.asarray(test_indices))
    tested = [dataset.clips[index] for index in test_indices]
    return net, Predictions.of(tested, scores, dataset.label_names)


linear = TrainConfig(model="logistic-pool", weight_decay=0.01)
shuffled = np.random.default_rng(0).permutation(len(clips))
held = len(clips) // 5
_, random_split = train_and_test(linear, shuffled[held:], shuffled[:held], "random")
by_speaker = {}
for speaker in speakers[:4]:
    split = split_by_speaker(clips, [speaker])
    both = dataset.indices(split.train), dataset.indices(split.test)
    _, predictions = train_and_test(linear, *both, f"without-{speaker}")
    by_speaker[speaker] = predictions.correct.mean()

print(f"random split:     {random_split.correct.mean():.1%}")
for speaker, accuracy in by_speaker.items():
    print(f"{speaker} left out: {accuracy:.1%}")
print(f"mean of those:    {np.mean(list(by_speaker.values())):.1%}")

# %% [markdown]
# ## The models, quickly
#
# One speaker left out, few clips and few epochs: an order, not a result.

# %%
split = split_by_speaker(clips, [speakers[-1]])
train_indices, test_indices = dataset.indices(split.train), dataset.indices(split.test)
train_indices = np.random.default_rng(1).permutation(train_indices)[:600]
quick = TrainConfig(epochs=6, batch_size=32)
networks, tested = {}, {}
for model in ("logistic-pool", "rnn", "lstm", "temporal-cnn", "cnn"):
    config = replace(quick, model=model)
    networks[model], tested[model] = train_and_test(config, train_indices, test_indices, model)
    print(f"{MODELS[model].title:>40}: {tested[model].correct.mean():.1%} of {speakers[-1]}")

evaluation = evaluate(tested["cnn"])
display(SVG(figures.confusion_matrix("cnn", evaluation.confusion, evaluation.label_names)))

# %% [markdown]
# ## Where a network puts the clips
#
# Its embeddings, on a plane. Clips of a digit should lie together, whoever speaks.

# %%
some = np.random.default_rng(2).permutation(len(clips))[:400]
_, embeddings = predict(networks["cnn"], dataset, some)
chosen = [dataset.clips[index] for index in some]
drawn = map_embeddings("cnn", embeddings, [c.label for c in chosen], [c.speaker for c in chosen])
print(f"a linear probe of digits, by {drawn.digit_probe_by}: {drawn.digit_probe:.1%}")
print(f"a linear probe of speakers: {drawn.speaker_probe:.1%}")
display(SVG(figures.embedding_map(drawn)))

# %% [markdown]
# ## Contrastive embeddings
#
# The same kind of network, trained without a single label (SimCLR): each clip is augmented twice,
# as if two other speakers said it, and the two must lie nearer to each other than to other clips.
# A few epochs on a few clips, here; then a linear probe is fitted with the labels, beside one on an
# untrained network.

# %%
pretraining = PretrainConfig(epochs=6, batch_size=64, probe_views=1)
pretrained = pretrain(pretraining, dataset, train_indices, WORK / "pretrain", quiet=True)
untrained = build_network(pretraining, len(dataset.label_names))
for name, net in (("pre-trained without labels", pretrained), ("untrained", untrained)):
    fit_probe(pretraining, net, dataset, train_indices)
    scores, _ = predict(net, dataset, test_indices)
    accuracy = (scores.argmax(1) == dataset.targets[test_indices]).mean()
    print(f"linear probe, {name}: {accuracy:.1%} of {speakers[-1]}")

_, embeddings = predict(pretrained, dataset, some)
drawn = map_embeddings(
    "pre-trained", embeddings, [c.label for c in chosen], [c.speaker for c in chosen]
)
display(SVG(figures.embedding_map(drawn)))

# %% [markdown]
# ## A string of digits, and what is none
#
# The network for strings emits a word when it has ended, or up to 240 ms later. Five digits of one
# speaker are joined; the picture shows the probability of each class at each step of 20 ms. Played
# backwards, the same sound holds no digit, and none should be transcribed.

# %%
transcriber = Transcriber()  # the network for strings that ships
spoken = read_words([clip for clip in clips if clip.speaker == speakers[1]])
string = make_strings(spoken, 1, StringStyle(min_digits=5, max_digits=5), seed=3)[0]
backwards = np.ascontiguousarray(string.samples[::-1])
figure, axes = plt.subplots(2, 1, figsize=(10, 5), sharex=True, layout="constrained")
for ax, samples, title in zip(
    axes, (string.samples, backwards), (f"said: {string.digits}", "backwards"), strict=True
):
    play(samples, title)
    found = transcriber(samples, SAMPLE_RATE).digits
    outputs = run_network(transcriber.network, samples)
    ax.imshow(
        np.exp(outputs.log_p.T), origin="lower", aspect="auto", cmap="cividis",
        extent=(0, len(outputs.log_p) * 0.02, -0.5, len(LABELS) - 0.5),
    )  # fmt: skip
    ax.set(
        yticks=range(len(LABELS)), yticklabels=LABELS, title=f"{title}; found: {found or 'none'}"
    )
axes[-1].set_xlabel("time, s")
plt.show()

# %% [markdown]
# ## Your own recording
#
# Put the path of a recording of one digit here; WAV, FLAC, OGG, MP3 and more.

# %%
MY_RECORDING = None

recognizer = sd.load()  # the model that ships
if MY_RECORDING is None:
    print("No recording of yours: one of the corpus instead.")
result = recognizer(MY_RECORDING or next(c.file for c in clips if c.label == "7"))
print(f"recognized: {result.label} ({result.probability:.1%})")
