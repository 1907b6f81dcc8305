/** Answers of strangers over plain `fetch`: read, but no further than is sensible. */

/** The body of an answer as text; null: it is longer. */
export async function boundedText(answer: Response, most: number): Promise<string | null> {
  const reader = answer.body?.getReader();
  // Some runtimes have no streams.
  if (reader === undefined) return answer.text().then((text) => (text.length > most ? null : text));
  const decoder = new TextDecoder();
  let [text, length] = ["", 0];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    length += value.length;
    if (length > most) {
      await reader.cancel().catch(() => {});
      return null;
    }
    text += decoder.decode(value, { stream: true });
  }
}
