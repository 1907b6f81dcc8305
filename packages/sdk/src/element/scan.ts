/** Reads a code with the camera: by the browser's own reader, or by one that the app gives. */
import { offerFromLink } from "../protocol/offer.js";

/** Finds a QR code in a picture: its text, or null. What the packages `qr` and `jsqr` do. */
export type Decode = (picture: ImageData) => string | null | undefined | Promise<string | null | undefined>;

/** How long between two looks, in milliseconds. */
const PAUSE = 150;
/** The widest picture that is given to the app's reader, in pixels. */
const WIDTH = 640;

interface Detector {
  detect(picture: HTMLVideoElement): Promise<readonly { readonly rawValue: string }[]>;
}

interface Detectors {
  new (options: { formats: string[] }): Detector;
  getSupportedFormats(): Promise<string[]>;
}

/** The browser's own reader, where it has one: no part of the DOM's types yet. */
const detectors = (): Detectors | undefined => (globalThis as { BarcodeDetector?: Detectors }).BarcodeDetector;

/** Whether a code can be read here. */
export async function canScan(decode: Decode | null): Promise<boolean> {
  if (typeof navigator === "undefined" || navigator.mediaDevices?.getUserMedia === undefined) return false;
  if (decode !== null) return true;
  const formats: readonly string[] = (await detectors()?.getSupportedFormats().catch(() => [])) ?? [];
  return formats.includes("qr_code");
}

/**
 * Shows the camera's picture, and resolves with the first code that is a link of a host. The camera is off when it ends.
 *
 * `seen` is told of what is none: each time it is seen.
 *
 * @throws Rejects when the camera cannot be used, and with the signal's reason.
 */
export async function scan(
  video: HTMLVideoElement,
  decode: Decode | null,
  signal: AbortSignal,
  seen: (text: string) => void = () => {},
): Promise<string> {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  try {
    signal.throwIfAborted();
    video.srcObject = stream;
    await video.play();
    const look = reader(decode);
    for (;;) {
      const texts = await look(video).catch((): string[] => []);
      const found = texts.find(isLink);
      signal.throwIfAborted();
      if (found !== undefined) return found;
      texts.forEach(seen);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      signal.throwIfAborted();
    }
  } finally {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  }
}

function reader(decode: Decode | null): (video: HTMLVideoElement) => Promise<string[]> {
  const Detectors = detectors();
  if (decode === null && Detectors !== undefined) {
    const detector = new Detectors({ formats: ["qr_code"] });
    return async (video) => (await detector.detect(video)).map((found) => found.rawValue);
  }
  const canvas = document.createElement("canvas");
  return async (video) => {
    if (video.videoWidth === 0 || decode === null) return [];
    const scale = Math.min(1, WIDTH / video.videoWidth);
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (context === null) return [];
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    const found = await decode(context.getImageData(0, 0, canvas.width, canvas.height));
    return typeof found === "string" ? [found] : [];
  };
}

/** Another code may be in the picture as well. */
function isLink(text: string): boolean {
  try {
    offerFromLink(text);
    return true;
  } catch {
    return false;
  }
}
