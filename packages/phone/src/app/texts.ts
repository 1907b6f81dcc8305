/** What the worker and the shim tell people. */
export const texts = {
  lang: "en",
  /** The page in place of one that did not come. */
  failed: { title: "The page did not come", next: "Load it again in a moment." },
  again: "Try again",
  noClient: {
    title: "Couplet is not open here",
    message: "This app comes through Couplet's own page, which is closed in this browser",
    next: "Open the app in Couplet again.",
  },
  crossSite: {
    title: "Another site asked for this page",
    message: "Only the app's own pages, and you, can lead here",
    next: "If you meant to come here, open the app in Couplet and go there.",
  },
  encoding: {
    title: "The app's answer cannot be read",
    message: "It is compressed in a way that was not asked for",
    next: "Tell whoever runs the app that it does not heed Accept-Encoding.",
  },
  leaving: (url: string) => ({
    title: "The app leads elsewhere",
    message: `It goes on at ${url}`,
    next: "Couplet asks whether to open that in a tab of its own.",
  }),
  noSynchronous: "Synchronous requests cannot go through Couplet",
  noWorkers: "Apps that are shown through Couplet have no service worker of their own",
} as const;
