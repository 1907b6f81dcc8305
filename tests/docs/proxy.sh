# An app, a host and a proxy before them, both configured as the document says.
mkdir -p ~/.config/couplet
start_app

before_document() {
  block toml "$1" >~/.config/couplet/config.toml
  couplet serve >/dev/null 2>host.log &
  { printf '{\n\tadmin off\n}\n'; block caddyfile "$1"; } >Caddyfile
  caddy run --config Caddyfile --adapter caddyfile >/dev/null 2>caddy.log &
  until couplet devices >/dev/null 2>&1 && curl -so /dev/null http://127.0.0.1:8080/; do sleep 0.05; done
}
