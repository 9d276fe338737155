"""The learning wing: corpora, features, models, training, evaluation, studies, reports."""
