/** What has come for a reader and is not yet taken. Its length is bounded by flow control. */

/** Pieces shorter than this are put together, so that many small frames do not cost more than their bytes. */
const SMALL = 2_048;
const ROOM = 16_384;

export class Inbox {
  #pieces: Uint8Array[] = [];
  #first = 0;
  /** The last piece is a part of this, which has room behind it. */
  #open: { buffer: Uint8Array; length: number } | null = null;

  get empty(): boolean {
    return this.#first >= this.#pieces.length;
  }

  /** `shared`: the piece is a small part of a larger buffer, and is copied. */
  push(piece: Uint8Array, shared: boolean): void {
    if (piece.length >= SMALL) {
      this.#open = null;
      this.#pieces.push(shared ? piece.slice() : piece);
      return;
    }
    const open = this.#open;
    if (open && !this.empty && open.length + piece.length <= ROOM) {
      if (open.length + piece.length > open.buffer.length) {
        const larger = new Uint8Array(ROOM);
        larger.set(open.buffer.subarray(0, open.length));
        open.buffer = larger;
      }
      open.buffer.set(piece, open.length);
      open.length += piece.length;
      this.#pieces[this.#pieces.length - 1] = open.buffer.subarray(0, open.length);
      return;
    }
    const copy = piece.slice();
    this.#open = { buffer: copy, length: copy.length };
    this.#pieces.push(copy);
  }

  /** The next piece; null: there is none. */
  shift(): Uint8Array | null {
    const piece = this.#pieces[this.#first];
    if (!piece) return null;
    this.#first += 1;
    if (this.empty) this.clear();
    else if (this.#first >= 64) {
      this.#pieces.splice(0, this.#first);
      this.#first = 0;
    }
    return piece;
  }

  /** Drops all. */
  clear(): void {
    this.#pieces = [];
    this.#first = 0;
    this.#open = null;
  }
}
