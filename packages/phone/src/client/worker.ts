/** Keeps the client's own files, so that it opens without a network. */
export {};
