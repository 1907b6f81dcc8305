/** The client's pages. */
import { restore } from "../sdk.js";

void restore;
