#!/bin/sh
# An authority and one certificate for every replica of a fleet, in the folder that is named; what is there already stays.
# The authority is the whole of the trust: whoever has a certificate of it may be a replica, so let it sign nothing else.
set -eu
folder=${1:?which folder?}
[ -e "$folder/tls.crt" ] && exit 0
cd "$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=understudy fleet" \
    -keyout ca.key -out ca.crt
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=understudy replica" -keyout tls.key -out replica.csr
openssl x509 -req -in replica.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out tls.crt
rm -f ca.key ca.srl replica.csr
chmod 0444 tls.key # read by the user of the image
