/** What the bridge tells people. */
export const texts = {
  noWorker: {
    message: "This browser did not start what shows apps",
    next: "Leave private browsing, allow this site to store data, or use another browser; then open the app again.",
  },
  unreachable: {
    message: "The address that apps are shown at does not answer",
    next: "Open the app again in a moment. If it stays so, whoever runs the server of this page has to look after the name and the certificate of its apps' addresses.",
  },
  version: {
    message: "This page is of another version of Couplet than its server",
    next: "Close Couplet's other tabs and windows, and load this page again.",
  },
  flood: {
    message: "The app sent more messages than anything it does could need, and was stopped",
    next: "Open it again; if it happens again, ask who made the app.",
  },
} as const;
