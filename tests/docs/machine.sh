# A machine that may be changed: the folders that a document writes to are its own. The binary is installed for the user.
start_app
mkdir -p ~/.cargo/bin ~/local
ln -s "$(type -P couplet)" ~/.cargo/bin/couplet
# What is installed there stays in reach.
mount --bind /usr/local/bin ~/local
for folder in /usr/local/bin /etc/systemd/system /var/lib /var/backups /run; do
  mount -t tmpfs tmpfs "$folder"
done
shopt -s nullglob
# Where the certificate of a relay comes from; the home it was made in is closed to others, and so is this.
mkdir /var/lib/acme
cp -R ~/relay.example /var/lib/acme/
for program in ~/local/*; do ln -s "$program" /usr/local/bin/; done
