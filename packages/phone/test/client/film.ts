/** What a fake camera sees: a film (Y4M, C420) of a code, upright or inverted, or of nothing. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeQR } from "qr";

const [WIDTH, HEIGHT] = [640, 480];
const FRAMES = 5;

/** A still picture of a code, as large as fits. */
function picture(text: string, isInverted: boolean): Uint8Array {
  const luma = new Uint8Array(WIDTH * HEIGHT).fill(isInverted ? 16 : 235);
  const code = encodeQR(text, "raw", { border: 4 });
  const module = Math.floor(HEIGHT / code.length);
  const [left, top] = [(WIDTH - code.length * module) >> 1, (HEIGHT - code.length * module) >> 1];
  code.forEach((row, y) =>
    row.forEach((isDark, x) => {
      const shade = isDark !== isInverted ? 16 : 235;
      for (let line = 0; line < module; line += 1) {
        const at = (top + y * module + line) * WIDTH + left + x * module;
        luma.fill(shade, at, at + module);
      }
    }),
  );
  return luma;
}

/** Writes a film of these codes, one after the other, and again: the path of its file. */
export function film(texts: readonly string[], isInverted = false): string {
  const chroma = new Uint8Array((WIDTH * HEIGHT) / 2).fill(128);
  const parts: Uint8Array[] = [Buffer.from(`YUV4MPEG2 W${WIDTH} H${HEIGHT} F5:1 Ip A1:1 C420\n`)];
  for (const text of texts) {
    const luma = picture(text, isInverted);
    for (let frame = 0; frame < FRAMES; frame += 1) parts.push(Buffer.from("FRAME\n"), luma, chroma);
  }
  const path = join(mkdtempSync(join(tmpdir(), "couplet-film-")), "film.y4m");
  writeFileSync(path, Buffer.concat(parts));
  return path;
}

/** What Chromium is started with to take a film for its camera. */
export function camera(path: string): string[] {
  return ["--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${path}`, "--use-fake-ui-for-media-stream"];
}
