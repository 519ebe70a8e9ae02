//! What is left out of files without being told each time: what applications make anew by themselves, and what usually holds secrets.

/// Lists by the name that `exclude.preset` has for them. Patterns as those of `--exclude`: without a `/` they match a name anywhere.
pub const PRESETS: [(&str, &[&str]); 7] = [
    (
        "laravel",
        &["node_modules", "vendor", "storage/framework/cache", "storage/framework/sessions", "storage/framework/views", "bootstrap/cache"],
    ),
    ("wordpress", &["wp-content/cache", "wp-content/upgrade", "wp-content/backup*", "node_modules"]),
    ("django", &["__pycache__", "*.pyc", ".venv", "venv", ".mypy_cache", ".pytest_cache"]),
    ("rails", &["tmp/cache", "tmp/pids", "tmp/sockets", "node_modules", "vendor/bundle", "log/*.log"]),
    ("node", &["node_modules", ".next", ".nuxt", ".npm", ".yarn/cache"]),
    ("rust", &["target"]),
    ("home", &[".cache", ".local/share/Trash", ".npm", ".cargo/registry", ".rustup", "node_modules", ".venv", "Downloads/*.part"]),
];

/// Files that usually hold secrets. They are left out of file sources unless `include_secrets` says otherwise: whoever restores a directory
/// for a colleague should not hand out the keys of the house.
pub const SECRETS: [&str; 18] = [
    ".env",
    ".env.*",
    "!.env.example",
    "*.key",
    "*.p12",
    "*.pfx",
    // Certificates are no secrets, and a machine that is restored without them trusts nobody.
    "*-key.pem",
    "*_key.pem",
    "privkey*.pem",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    ".pgpass",
    ".my.cnf",
    ".vault-token",
    "auth.json",
];
