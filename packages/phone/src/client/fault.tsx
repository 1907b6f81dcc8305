/** What is shown when a page of ours fails: words, not a blank. */
import { Component, type ComponentChildren } from "preact";

import { Note, Page } from "./parts.js";
import { texts } from "./texts.js";

export class Fault extends Component<{ children: ComponentChildren }, { isFailed: boolean }> {
  override state = { isFailed: false };

  override componentDidCatch(): void {
    this.setState({ isFailed: true });
  }

  render() {
    if (!this.state.isFailed) return this.props.children;
    return (
      <Page
        title={texts.fault.title}
        name="fault"
        actions={
          <button type="button" class="main" onClick={() => location.reload()}>
            {texts.fault.reload}
          </button>
        }
      >
        <Note tone="bad">
          <p>{texts.fault.next}</p>
        </Note>
      </Page>
    );
  }
}
