# A host runs, with an app behind it. Every document finds the devices "iPad Pro" and "old phone", and those that it
# approves or rejects waiting.
start_app
COUPLET_APPROVE=always COUPLET_LIMITS__GENERATE_PER_MINUTE=1000 COUPLET_LIMITS__EXCHANGE_PER_MINUTE=1000 \
  couplet serve http://127.0.0.1:3000 >/dev/null 2>host.log &
until couplet devices >/dev/null 2>&1; do sleep 0.05; done

# offer: opens one and prints its link.
offer() {
  curl -fsS -X POST -H "Authorization: Bearer $(<~/.local/state/couplet/admin-token)" \
    http://127.0.0.1:7878/api/pair/generate | jq -r .qr_url
}

before_document() {
  local name
  for name in "iPad Pro" "old phone"; do
    if ! couplet devices --active --json | jq -e --arg name "$name" 'any(.devices[]; .device_name == $name)' >/dev/null; then
      couplet devices add "$name" >/dev/null 2>&1
    fi
  done
  sed -nE 's/^couplet (approve|reject) "(.*)"$/\2/p' "$1" | while read -r name; do
    present "$(offer)" "$name" >/dev/null
  done
}
