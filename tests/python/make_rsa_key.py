"""Writes an RSA private key as `openssl genpkey` does: make_rsa_key.py FILE BITS"""

import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

key = rsa.generate_private_key(public_exponent=65537, key_size=int(sys.argv[2]))
pem = key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
with open(sys.argv[1], "wb") as file:
    file.write(pem)
print("{}")
