// Occlusion: what the score loses when a window is hidden, as explanation/occlusion.py has it with its usual settings.

import { blurred } from "./hidden.js";
import { round } from "./place.js";
import { scoreOf } from "./probabilities.js";

const [WINDOW, STRIDE] = [1 / 7, 1 / 14];
// More images in a pass would make it no quicker, and could be stopped less often.
const AT_ONCE = 4;

/** Where windows begin along a side, and how long they are. */
function windows(side) {
  const window = Math.max(1, round(WINDOW * side));
  const stride = Math.min(Math.max(1, round(STRIDE * side)), window);
  const count = Math.ceil(Math.max(side - window, 0) / stride) + 1;
  return { window, stride, starts: Array.from({ length: count }, (_, i) => i * stride) };
}

function hide(tensor, hidden, target, [top, bottom], [left, right], height, width) {
  target.set(tensor);
  for (let c = 0; c < 3; c++) {
    for (let y = top; y < Math.min(bottom, height); y++) {
      const row = (c * height + y) * width;
      target.set(hidden.subarray(row + left, row + Math.min(right, width)), row + left);
    }
  }
}

/** Maps for questions about classes: [{question, values}], and the remark on how they were made. */
export async function occlusion(model, tensor, questions, { progress, check }) {
  const { height, width } = model.preprocessing;
  const [down, across] = [windows(height), windows(width)];
  const hidden = blurred(tensor, height, width);
  const whole = (await model.logits(tensor))[0];
  const all = down.starts.flatMap((top) => across.starts.map((left) => [top, left]));
  const losses = questions.map(() => new Float64Array(all.length));
  const batch = new Float32Array(AT_ONCE * tensor.length);
  for (let start = 0; start < all.length; start += AT_ONCE) {
    const chunk = all.slice(start, start + AT_ONCE);
    chunk.forEach(([top, left], i) => {
      const target = batch.subarray(i * tensor.length, (i + 1) * tensor.length);
      hide(tensor, hidden, target, [top, top + down.window], [left, left + across.window], height, width);
    });
    const found = await model.logits(batch.slice(0, chunk.length * tensor.length));
    found.forEach((logits, i) => questions.forEach((question, t) => (losses[t][start + i] = scoreOf(whole, question) - scoreOf(logits, question))));
    check();
    progress(Math.min(1, (start + chunk.length) / all.length));
  }
  const maps = questions.map((question, t) => ({ question, values: averaged(losses[t], all, down, across, height, width) }));
  const settings = { samples: all.length + 1, window_pixels: [down.window, across.window], stride_pixels: [down.stride, across.stride] };
  return { logits: whole, maps, settings };
}

/** The mean over the windows that cover a pixel. */
function averaged(losses, all, down, across, height, width) {
  const sums = new Float64Array(height * width);
  const counts = new Float64Array(height * width);
  all.forEach(([top, left], i) => {
    for (let y = top; y < Math.min(top + down.window, height); y++) {
      for (let x = left; x < Math.min(left + across.window, width); x++) {
        sums[y * width + x] += losses[i];
        counts[y * width + x] += 1;
      }
    }
  });
  return Float32Array.from(sums, (sum, i) => sum / counts[i]);
}
