// What is to be true of each file that the page reads; an expression, for node and Chromium.
async ({ openFile, UserError }, file) => {
  try {
    const { duration, pieces } = await openFile(file);
    let length = 0;
    for await (const piece of pieces) {
      length += piece.length;
      if (!piece.every(Number.isFinite)) throw new Error("samples that are no numbers");
    }
    if (!(Math.abs(length - 8000 * duration) < 2)) {
      throw new Error(`${length} samples of ${duration} s`);
    }
    return "read";
  } catch (error) {
    const isOwn = error instanceof UserError && !error.message.includes("\n");
    return isOwn ? "refused" : `${error.name}: ${error.message}`.replaceAll(/\s+/g, " ");
  }
};
