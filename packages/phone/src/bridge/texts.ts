/** What the bridge tells people. */
export const texts = {
  noWorker: {
    message: "This browser did not start what shows apps",
    next: "Leave private browsing, allow this site to store data, or use another browser; then open the app again.",
  },
  flood: {
    message: "The app sent more messages than anything it does could need, and was stopped",
    next: "Open it again; if it happens again, ask who made the app.",
  },
} as const;
