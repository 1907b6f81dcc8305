/** Types alone: `<couplet-connect>` in the TSX of React 19. `import type {} from "couplet/react"`, beside `import "couplet/element"`. */
import type { DetailedHTMLProps, HTMLAttributes } from "react";

import type { CoupletConnect, CoupletEvents } from "./element.js";

type Handlers = { readonly [Name in keyof CoupletEvents as `on${Name}`]?: (event: CoupletEvents[Name]) => void };

/** What `<couplet-connect>` takes there. */
export interface CoupletConnectProps extends DetailedHTMLProps<HTMLAttributes<CoupletConnect>, CoupletConnect>, Handlers {
  readonly "device-name"?: string | undefined;
  readonly options?: CoupletConnect["options"] | undefined;
  readonly texts?: Partial<CoupletConnect["texts"]> | undefined;
  readonly decode?: CoupletConnect["decode"] | undefined;
}

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "couplet-connect": CoupletConnectProps;
    }
  }
}
