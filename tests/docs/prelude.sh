# What the commands of a document find around them, besides the programs of scripts/install-deps. Each document's script
# begins with this; tests/tests/docs.rs runs them.
set -euo pipefail

# Commands that end when a person does something meet that person: in the foreground, `couplet pair` a phone, and
# `couplet serve` a Ctrl-C once it is ready. In the background, and in a pipe, they are themselves, for `kill` too.
couplet() {
  case ${1:-} in
    pair | serve)
      [[ $BASHPID == "$$" ]] || exec couplet "$@"
      "$1_with_a_person" "$@"
      ;;
    *) command couplet "$@" ;;
  esac
}

pair_with_a_person() {
  local link pair
  link=$(mktemp)
  command couplet "$@" --link lan >"$link" &
  pair=$!
  until [[ -s $link ]]; do
    kill -0 "$pair" || { wait "$pair"; return; }
    sleep 0.05
  done
  cat "$link"
  exchange "$(<"$link")" Phone >/dev/null && wait "$pair"
}

# exchange LINK NAME: what a phone does with the link, approved by the owner if need be; prints the answer.
exchange() {
  local answer claim
  answer=$(present "$@") || return
  if claim=$(jq -re .claim <<<"$answer"); then
    command couplet approve "$2" || return
    answer=$(present "$@" "$claim") || return
  fi
  printf '%s\n' "$answer"
}

# present LINK NAME [CLAIM]: one request with the link's token.
present() {
  local address=${1#couplet://} body
  body=$(jq -n --arg token "${1#*pair=}" --arg name "$2" --arg claim "${3:-}" \
    '{pair_token: $token, device_name: $name} + if $claim == "" then {} else {$claim} end')
  curl -fsS --json "$body" "http://${address%%\?*}/api/pair/exchange"
}

serve_with_a_person() {
  local said host
  said=$(mktemp)
  command couplet "$@" 2>"$said" &
  host=$!
  until grep -q '^Next' "$said"; do
    kill -0 "$host" || { cat "$said" >&2; wait "$host"; return; }
    sleep 0.05
  done
  cat "$said" >&2
  kill -s INT "$host"
  wait "$host"
}

# The tests are root already.
sudo() { "$@"; }

# What systemd does for the one service of the documents: nothing here is booted. The user has a number and no name.
systemctl() {
  local unit=/etc/systemd/system/couplet.service state=/var/lib/couplet pid=/run/couplet.pid said
  case "$*" in
    daemon-reload)
      # Unknown keys are only spoken of.
      said=$(systemd-analyze verify "$unit" 2>&1) && [[ -z $said ]] || { printf '%s\n' "$said" >&2; return 1; }
      ;;
    'enable --now couplet' | 'start couplet')
      local setting='s/^%s=//p' start environment
      start=$(sed -n 's/^ExecStart=//p' "$unit")
      environment=$(sed -n 's/^Environment=//p' "$unit")
      mkdir -p -m "$(sed -n 's/^StateDirectoryMode=//p' "$unit")" "$state"
      chown -R 61184:61184 "$state"
      # As words, since a unit's lines are not a shell's.
      # shellcheck disable=SC2086
      env -i HOME=/ PATH=/usr/bin $environment setpriv --reuid 61184 --regid 61184 --clear-groups $start &
      echo $! >"$pid"
      until command couplet devices --state-dir "$state" >/dev/null 2>&1; do
        kill -0 "$(<"$pid")" || return
        sleep 0.05
      done
      ;;
    'stop couplet')
      kill "$(<"$pid")" && wait "$(<"$pid")"
      ;;
    *)
      echo "tests/docs/prelude.sh knows no systemctl $*" >&2
      return 1
      ;;
  esac
}

# block LANGUAGE DOCUMENT: the text of the document's block in this language.
block() {
  awk -v start="^\`\`\`$1\$" '$0 ~ start { on = 1; next } /^```/ { on = 0 } on' "$2"
}

# The app that documents put behind Couplet.
start_app() {
  python3 -m http.server --bind 127.0.0.1 --directory "$(mktemp -d)" 3000 >/dev/null 2>&1 &
  until curl -so /dev/null http://127.0.0.1:3000/; do sleep 0.05; done
}
