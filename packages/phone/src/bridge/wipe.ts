/** Removes what an app has stored in this browser, whether it is open or not. */
import { parseFromKeeper, type ToKeeper, WIPER } from "../wire/frames.js";
import { keeperFrame, originOf } from "./keeper.js";

/** Milliseconds that it may take: the origin may not answer, and the app may hold on to what it stored. */
const PATIENCE = 5000;

/**
 * Removes what the app of a label has stored in this browser: its pages' storage, databases, caches, files, and the worker. Its
 * frames are to be shut before; the jar is the caller's. Resolves with true when all of it is gone, with false when the origin
 * did not answer within some seconds, or something stayed. Rejects with a TypeError: the label or the pattern is none.
 *
 * `container` has the frame that it takes for so long.
 */
export async function wipeApp(init: {
  readonly label: string;
  readonly appsOrigin: string;
  readonly container: HTMLElement;
}): Promise<boolean> {
  const { label, appsOrigin, container } = init;
  const origin = originOf(appsOrigin, label);
  const keeper = keeperFrame();
  const wiping: ToKeeper = { couplet: "wipe" };
  let hear: (event: MessageEvent<unknown>) => void = () => {};
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    return await new Promise<boolean>((resolve) => {
      hear = ({ source, origin: from, data }) => {
        if (source === null || source !== keeper.contentWindow || from !== origin) return;
        const said = parseFromKeeper(data);
        if (said?.couplet === "begun") keeper.contentWindow?.postMessage(wiping, origin);
        else if (said?.couplet === "wiped") resolve(said.isAll);
      };
      window.addEventListener("message", hear);
      timer = setTimeout(() => resolve(false), PATIENCE);
      keeper.src = origin + WIPER;
      container.append(keeper);
    });
  } finally {
    clearTimeout(timer);
    window.removeEventListener("message", hear);
    keeper.remove();
  }
}
