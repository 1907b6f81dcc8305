# A relay runs, as one is tried out on one machine.
couplet relay serve --dev --private 127.0.0.1:9090 >/dev/null 2>relay.log &
until couplet relay hosts >/dev/null 2>&1; do sleep 0.05; done
