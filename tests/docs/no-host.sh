# No host runs and no state is kept; the app is there.
start_app

before_document() { rm -rf ~/.local/state/couplet; }
