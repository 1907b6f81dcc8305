#!/bin/sh
# What chromedriver starts as its browser: Chromium, in the network that BROWSER_NETWORK names, if it names one. The two
# talk over inherited pipes, so chromedriver need not be there. BROWSER_WHOLE takes the Chromium that people have;
# without it, it is the same engine without a desktop's parts, which takes a third of the time to start and opens no page
# of its own accord.
if [ "${BROWSER_WHOLE:-}" ]; then set -- chromium "$@"; else set -- chromium-headless-shell "$@" about:blank; fi
exec ${BROWSER_NETWORK:+ip netns exec "$BROWSER_NETWORK"} "$@"
