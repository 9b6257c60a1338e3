"""The examples of deploy/proxy as commands that run here: only addresses, certificates and folders are changed."""

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "proxy"
AROUND_NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/relay.conf;
}}
"""


class Certificate(NamedTuple):
    """PEM files."""

    chain: Path
    key: Path


class Front(NamedTuple):
    """Where a proxy stands: its folder, its port, the relay's, and its certificate; None: without TLS."""

    folder: Path
    port: int
    relay_port: int
    certificate: Certificate | None = None


class Program(Protocol):
    """The command that runs an example there; `changes` are made in its text."""

    __name__: str

    def __call__(self, front: Front, *changes: tuple[str, str]) -> list[str]: ...


def nginx(front: Front, *changes: tuple[str, str]) -> list[str]:
    """A `Program`."""
    chain, key = "/etc/ssl/relay/fullchain.pem", "/etc/ssl/relay/privkey.pem"
    if front.certificate:
        tls = [("443", f"127.0.0.1:{front.port}"), (chain, f"{front.certificate.chain}")]
        tls += [(key, f"{front.certificate.key}")]
    else:
        tls = [("443 ssl http2", f"127.0.0.1:{front.port}")]
        tls += [(f"    ssl_certificate {chain};\n", ""), (f"    ssl_certificate_key {key};\n", "")]
    _write(front, "nginx.conf", "relay.conf", *tls, *changes)
    (front.folder / "nginx.conf").write_text(AROUND_NGINX.format(folder=front.folder))
    return ["nginx", "-c", str(front.folder / "nginx.conf")]


def caddy(front: Front, *changes: tuple[str, str]) -> list[str]:
    """Another one."""
    site = f"http://127.0.0.1:{front.port} {{"
    if front.certificate:
        site = f"https://127.0.0.1:{front.port} {{\n\ttls {front.certificate.chain} {front.certificate.key}"
    own = (("relay.example.com {", site), ("{\n\tservers {", "{\n\tadmin off\n\tservers {"))
    _write(front, "Caddyfile", "Caddyfile", *own, *changes)
    return ["caddy", "run", "--config", str(front.folder / "Caddyfile")]


def self_made(folder: Path) -> Certificate:
    """A certificate for 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, SHA256())
    )
    found = Certificate(folder / "fullchain.pem", folder / "privkey.pem")
    found.chain.write_bytes(made.public_bytes(Encoding.PEM))
    found.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return found


def _write(front: Front, example: str, name: str, *changes: tuple[str, str]) -> None:
    text = (EXAMPLES / example).read_text("utf-8")
    for old, new in (*changes, ("127.0.0.1:8000", f"127.0.0.1:{front.relay_port}")):
        assert old in text, old
        text = text.replace(old, new)
    (front.folder / name).write_text(text)
