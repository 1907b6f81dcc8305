#!/bin/sh
# What chromedriver starts as its browser: Chromium, in the network that BROWSER_NETWORK names, if it names one. The two
# talk over inherited pipes, so chromedriver need not be there.
exec ${BROWSER_NETWORK:+ip netns exec "$BROWSER_NETWORK"} chromium "$@"
