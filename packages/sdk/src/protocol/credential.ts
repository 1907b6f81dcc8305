/** The forms of credentials that are text (spec/protocol.md, 1; the HTTP API). */
import { SecretText } from "./secret.js";

const FORMS = {
  /** One-time pairing token: 128 random bits. */
  pair: /^otp_[A-Za-z0-9_-]{22}$/,
  /** Device token: 192 random bits. */
  device: /^dev_[A-Za-z0-9_-]{32}$/,
  /** Client credential of `GET /pair`: 128 random bits. */
  bearer: /^[0-9a-f]{32}$/,
  /** What a device that waits for approval collects its answer with: 128 random bits. */
  claim: /^clm_[A-Za-z0-9_-]{22}$/,
} as const;

/** Which credential. */
export type CredentialKind = keyof typeof FORMS;

/** Takes text of the right form; null: the prefix, the length or the alphabet is another. */
export function parseCredential(kind: CredentialKind, text: string): SecretText | null {
  return FORMS[kind].test(text) ? new SecretText(text) : null;
}

/** Whether the text has the form of a credential that devices present: `dev_…` or 32 hex characters. */
export function isDeviceCredential(text: string): boolean {
  return FORMS.device.test(text) || FORMS.bearer.test(text);
}
