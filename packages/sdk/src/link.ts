/**
 * An ordered, reliable stream of bytes with back pressure: what HTTP/2 runs over, and what a sealed session gives.
 */
export interface ByteLink {
  /**
   * Resolves when more may be sent; rejects once the link is over. The bytes are copied or sent before it resolves; the
   * caller does not change them meanwhile.
   */
  send(bytes: Uint8Array): Promise<void>;
  /**
   * The next bytes, never empty; null: the other end has ended cleanly. Rejects when the link broke. One call at a
   * time.
   */
  receive(): Promise<Uint8Array | null>;
  /** Ends it. Pending and later calls reject with `reason`. Idempotent. */
  close(reason?: unknown): void;
}
