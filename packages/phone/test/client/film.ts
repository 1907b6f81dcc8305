/** What a fake camera sees: a film (Y4M, C420) of a code, upright or inverted, or of nothing. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
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
  return filmOf(texts.map((text) => picture(text, isInverted)));
}

/** Writes a film of what was photographed: a picture (PNG), as large as fits. A blank page of a browser decodes it. */
export async function filmed(png: Buffer, blank: Page): Promise<string> {
  const shot = await blank.evaluate(
    async ([data, width, height]) => {
      const image = new Image();
      image.src = `data:image/png;base64,${data}`;
      await image.decode();
      const canvas = new OffscreenCanvas(width, height);
      const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
      context.fillStyle = "white";
      context.fillRect(0, 0, width, height);
      const scale = Math.min(width / image.width, height / image.height);
      const [wide, high] = [image.width * scale, image.height * scale];
      context.drawImage(image, (width - wide) / 2, (height - high) / 2, wide, high);
      const { data: pixels } = context.getImageData(0, 0, width, height);
      return Array.from({ length: width * height }, (_, at) => {
        const [red = 0, green = 0, blue = 0] = pixels.subarray(4 * at, 4 * at + 3);
        return Math.round(16 + (219 * (0.299 * red + 0.587 * green + 0.114 * blue)) / 255);
      });
    },
    [png.toString("base64"), WIDTH, HEIGHT] as const,
  );
  return filmOf([Uint8Array.from(shot)]);
}

function filmOf(pictures: readonly Uint8Array[]): string {
  const chroma = new Uint8Array((WIDTH * HEIGHT) / 2).fill(128);
  const parts: Uint8Array[] = [Buffer.from(`YUV4MPEG2 W${WIDTH} H${HEIGHT} F5:1 Ip A1:1 C420\n`)];
  for (const luma of pictures) {
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
