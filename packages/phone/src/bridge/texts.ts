/** What the bridge tells people. */
export const texts = {
  noWorker: {
    message: "This browser did not start what shows apps",
    next: "Leave private browsing, allow this site to store data, or use another browser; then open the app again.",
  },
  unreachable: {
    message: "The address that apps are shown at does not answer",
    next:
      "Open the app again in a moment. If it stays so, tell whoever runs the server of this page: the name of apps' addresses, " +
      "or a certificate for them, is missing.",
  },
  version: {
    message: "This page is of another version of Couplet than its server",
    next: "Close Couplet's other tabs and windows, and load this page again.",
  },
  refused: {
    path: {
      message: "The app asks for an address that is longer than Couplet takes",
      next: "Go back, and ask the app for less at once. If that does not help, tell whoever made it.",
    },
    headers: {
      message: "The app sends more beside its request than Couplet takes",
      next: "Log out of the app and in again. If that does not help, tell whoever made it.",
    },
    unreadable: { message: "The app asks for something that cannot be sent", next: "Load the page again." },
  },
  brokeOff: { message: "The answer broke off", next: "Load the page again." },
  tooMuch: {
    message: "The app asks for too much at once",
    next: "Wait until some of what it loads has come, and load the page again.",
  },
  flood: {
    message: "The app sent more messages than anything it does could need, and was stopped",
    next: "Open it again; if it happens again, ask who made the app.",
  },
} as const;
