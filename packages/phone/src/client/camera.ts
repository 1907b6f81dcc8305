/** The camera: whether it can be used, why not, and what reads codes in its picture. */
import { decodeQR } from "qr/decode.js";

import { scan, type Decode } from "../sdk.js";
import { codeOf, type Code } from "./link.js";

/** Why nothing is scanned. */
export type CameraTrouble = "refused" | "none" | "busy" | "insecure";

/** What an error of `getUserMedia` means, or that there is no such thing. */
export function cameraTrouble(error: unknown, isSecure: boolean): CameraTrouble {
  if (!isSecure) return "insecure";
  const name = error instanceof Error || error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") return "refused";
  if (name === "NotReadableError" || name === "AbortError") return "busy";
  return "none";
}

interface Detector {
  detect(picture: ImageData): Promise<readonly { readonly rawValue: string }[]>;
}

interface Detectors {
  new (options: { formats: string[] }): Detector;
  getSupportedFormats(): Promise<string[]>;
}

/** The browser's own reader, where it reads such codes. */
async function nativeReader(): Promise<Detector | null> {
  const Detectors = (globalThis as { BarcodeDetector?: Detectors }).BarcodeDetector;
  try {
    const formats = (await Detectors?.getSupportedFormats()) ?? [];
    return Detectors !== undefined && formats.includes("qr_code") ? new Detectors({ formats: ["qr_code"] }) : null;
  } catch {
    return null;
  }
}

/** Reads by the browser's own reader, which is faster; and by ours, which also reads inverted codes. */
export async function reader(): Promise<Decode> {
  let native = await nativeReader();
  let looks = 0;
  return async (picture) => {
    looks += 1;
    const found = await native?.detect(picture).catch(() => {
      // It is there, and does not work: some systems lack a part of it.
      native = null;
      return null;
    });
    if (found && found.length > 0) {
      const all = found.map((one) => one.rawValue);
      return all.find((text) => codeOf(text) === "link") ?? all[0];
    }
    // Where the browser reads, ours is for what it does not read: that has time.
    return native !== null && looks % 3 !== 0 ? null : read(picture);
  };
}

function read(picture: ImageData): string | null {
  try {
    return decodeQR(picture);
  } catch {
    return null;
  }
}

/**
 * Shows the camera's picture in `video`, and resolves with the first link. `seen` is told of other codes, each once.
 *
 * @throws Rejects when the camera cannot be used, and with the signal's reason.
 */
export async function scanLink(video: HTMLVideoElement, signal: AbortSignal, seen: (code: Code) => void): Promise<string> {
  if (navigator.mediaDevices?.getUserMedia === undefined) throw new DOMException("no camera", "NotFoundError");
  const known = new Set<string>();
  return scan(video, await reader(), signal, (text) => {
    if (known.has(text)) return;
    known.add(text);
    seen(codeOf(text));
  });
}
