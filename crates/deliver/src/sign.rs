//! Signatures in minisign's format, which the stock `minisign` verifies: `minisign -Vm bundle.json -p key.pub`.
use crate::DeliverError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minisign::{KeyPair, PublicKey, PublicKeyBox, SecretKey, SecretKeyBox, SignatureBox};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

/// Bytes at a secret key's end by which damage is seen.
const CHECKSUM_BYTES: usize = 32;

/// What a secret key's file is encrypted with.
#[derive(Clone)]
pub enum Passphrase {
    /// With nothing: whoever reads the file has the key.
    None,
    /// With this.
    Given(String),
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::None) { "None" } else { "Given(…)" })
    }
}

/// Where the two keys of a pair lie.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    /// The key that verifies.
    pub public: PathBuf,
    /// The key that signs.
    pub secret: PathBuf,
}

/// Makes a pair of keys; gives the number by which both are known.
///
/// # Errors
/// `Key` where a file exists already, `Write`.
pub fn keygen(files: &KeyFiles, passphrase: &Passphrase) -> Result<String, DeliverError> {
    for path in [&files.public, &files.secret] {
        if path.exists() {
            return Err(key_error(path, "exists, and a key is never overwritten"));
        }
    }
    let failed = |e| key_error(&files.secret, e);
    let pair = match passphrase {
        Passphrase::None => KeyPair::generate_unencrypted_keypair(),
        Passphrase::Given(text) => KeyPair::generate_encrypted_keypair(Some(text.clone())),
    };
    let KeyPair { pk, sk } = pair.map_err(failed)?;
    let secret = sk.to_box(Some("yoloslim secret key")).map_err(failed)?;
    let public = pk.to_box().map_err(failed)?;
    create(&files.secret, &secret.to_bytes(), 0o600)?;
    create(&files.public, &public.to_bytes(), 0o644)?;
    Ok(number(pk.keynum()))
}

/// Writes a file that is not there yet, which only its owner may read where `mode` says so.
fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DeliverError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|e| DeliverError::write(path, e))
}

/// A key that signs.
pub struct SigningKey {
    key: SecretKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.number())
    }
}

impl SigningKey {
    /// Reads a secret key as `keygen` or `minisign -G` wrote it.
    ///
    /// # Errors
    /// `Read`; `Key` for another file, a wrong passphrase, or one missing.
    pub fn read(path: &Path, passphrase: &Passphrase) -> Result<Self, DeliverError> {
        let text = fs::read_to_string(path).map_err(|e| DeliverError::read(path, e))?;
        if let Some(key) = stock_unencrypted(&text) {
            return Ok(Self { key });
        }
        let text = SecretKeyBox::from(text);
        let key = match passphrase {
            // Otherwise the library would ask for a passphrase on the terminal.
            Passphrase::None => SecretKey::from_unencrypted_box(text),
            Passphrase::Given(given) => SecretKey::from_box(text, Some(given.clone())),
        };
        let key = key.map_err(|e| key_error(path, e))?;
        Ok(Self { key })
    }

    /// The number by which the key and its public key are known.
    pub fn number(&self) -> String {
        number(self.key.keynum())
    }

    /// The public key that belongs to it.
    ///
    /// # Errors
    /// `Key` where the secret key does not hold it.
    pub fn public(&self) -> Result<PublicKeys, DeliverError> {
        let key = PublicKey::from_secret_key(&self.key);
        let key = key.map_err(|e| key_error(Path::new(&self.number()), e))?;
        Ok(PublicKeys { keys: vec![key] })
    }

    /// The signature of bytes and of one line of comment, as the text of a `.minisig` file.
    ///
    /// # Errors
    /// `Key` where the system gives no random numbers.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Result<String, DeliverError> {
        let signed = minisign::sign(None, &self.key, Cursor::new(bytes), Some(comment), None);
        let signed = signed.map_err(|e| key_error(Path::new(&self.number()), e))?;
        Ok(signed.into_string())
    }
}

/// What a valid signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The number of the key that signed.
    pub key: String,
    /// The comment that was signed too.
    pub comment: String,
}

/// Keys whose signatures are trusted.
#[derive(Debug)]
pub struct PublicKeys {
    keys: Vec<PublicKey>,
}

impl PublicKeys {
    /// Reads a public key as `keygen` or `minisign -G` wrote it, or all `*.pub` of a folder.
    ///
    /// # Errors
    /// `Read`; `Key` for another file, or a folder without one.
    pub fn read(path: &Path) -> Result<Self, DeliverError> {
        let mut files = vec![path.to_path_buf()];
        if path.is_dir() {
            let entries = fs::read_dir(path).map_err(|e| DeliverError::read(path, e))?;
            let entries = entries.collect::<Result<Vec<_>, _>>();
            let entries = entries.map_err(|e| DeliverError::read(path, e))?;
            files = entries.into_iter().map(|entry| entry.path()).collect();
            files.retain(|file| file.extension().is_some_and(|extension| extension == "pub"));
            files.sort();
            if files.is_empty() {
                return Err(key_error(path, "holds no public key (*.pub)"));
            }
        }
        let keys = files.iter().map(|file| public_key(file)).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// Verifies the signature of bytes; `path` is what errors name.
    ///
    /// # Errors
    /// `Untrusted` for another key, `Signature` where it does not fit the bytes or is none.
    pub fn verify(
        &self,
        path: &Path,
        bytes: &[u8],
        signature: &str,
    ) -> Result<Signature, DeliverError> {
        let wrong = |why: String| DeliverError::Signature { path: path.to_path_buf(), why };
        let signature = SignatureBox::from_string(signature).map_err(|e| wrong(e.to_string()))?;
        let key = number(signature.keynum());
        let trusted = self.keys.iter().find(|trusted| number(trusted.keynum()) == key);
        let trusted = trusted.ok_or_else(|| DeliverError::Untrusted {
            path: path.to_path_buf(),
            key: key.clone(),
            trusted: self.numbers().join(", "),
        })?;
        // Quiet, and without the format that signs unhashed bytes, which nothing writes any more.
        let verified =
            minisign::verify(trusted, &signature, Cursor::new(bytes), true, false, false);
        verified.map_err(|e| wrong(e.to_string()))?;
        let comment = signature.trusted_comment().map_err(|e| wrong(e.to_string()))?;
        Ok(Signature { key, comment })
    }

    /// The numbers by which the keys are known.
    pub fn numbers(&self) -> Vec<String> {
        self.keys.iter().map(|key| number(key.keynum())).collect()
    }
}

/// A key that `minisign -G -W` wrote, whose checksum is left zero: the library would take it for damaged.
fn stock_unencrypted(text: &str) -> Option<SecretKey> {
    let bytes = BASE64_STANDARD.decode(text.lines().nth(1)?.trim()).ok()?;
    let checksum = bytes.get(bytes.len().checked_sub(CHECKSUM_BYTES)?..)?;
    let key = SecretKey::from_bytes(&bytes).ok()?;
    let fits = checksum.iter().all(|byte| *byte == 0) && !key.is_encrypted();
    // In the checksum's place the two halves of the key are compared.
    let public = PublicKey::from_secret_key(&key).ok()?;
    let signed = minisign::sign(Some(&public), &key, Cursor::new(b""), None, None);
    (fits && signed.is_ok()).then_some(key)
}

fn public_key(path: &Path) -> Result<PublicKey, DeliverError> {
    let text = fs::read_to_string(path).map_err(|e| DeliverError::read(path, e))?;
    let key = PublicKeyBox::from_string(&text).and_then(PublicKeyBox::into_public_key);
    key.map_err(|e| key_error(path, e))
}

fn key_error(path: &Path, why: impl fmt::Display) -> DeliverError {
    DeliverError::Key { path: path.to_path_buf(), why: why.to_string() }
}

/// As `minisign` prints it: eight bytes, the first one last.
fn number(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(folder: &Path, name: &str) -> (SigningKey, PublicKeys) {
        let files = KeyFiles {
            public: folder.join(format!("{name}.pub")),
            secret: folder.join(format!("{name}.key")),
        };
        keygen(&files, &Passphrase::None).expect("keys");
        let key = SigningKey::read(&files.secret, &Passphrase::None).expect("a key");
        (key, PublicKeys::read(&files.public).expect("a key"))
    }

    #[test]
    fn signature_fits_its_bytes_its_comment_and_its_key_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let (key, keys) = pair(folder.path(), "a");
        let (_, others) = pair(folder.path(), "b");
        let text = key.sign(b"bytes", "version 3").expect("signed");
        let path = Path::new("x");
        let found = keys.verify(path, b"bytes", &text).expect("fits");
        assert_eq!(found, Signature { key: key.number(), comment: "version 3".to_owned() });
        let tampered = text.replace("version 3", "version 4");
        for (bytes, text) in [(&b"Bytes"[..], &text), (b"bytes", &tampered)] {
            let error = keys.verify(path, bytes, text).expect_err("refused");
            assert!(matches!(error, DeliverError::Signature { .. }), "{error}");
        }
        let error = others.verify(path, b"bytes", &text).expect_err("refused");
        assert!(matches!(error, DeliverError::Untrusted { .. }), "{error}");
    }

    #[test]
    fn unencrypted_key_of_the_stock_minisign_signs_what_it_verifies() {
        let folder = tempfile::tempdir().expect("a folder");
        let [public, secret, file] = ["k.pub", "k.key", "f"].map(|name| folder.path().join(name));
        let minisign = |args: &[&std::ffi::OsStr]| {
            std::process::Command::new("minisign").args(args).output().map(|out| out.status)
        };
        let word = std::ffi::OsStr::new;
        let (public_arg, secret_arg) = (public.as_os_str(), secret.as_os_str());
        let made = [word("-G"), word("-W"), word("-p"), public_arg, word("-s"), secret_arg];
        let Ok(made) = minisign(&made) else {
            println!("skipped: minisign is not installed");
            return;
        };
        assert!(made.success());
        let key = SigningKey::read(&secret, &Passphrase::None).expect("a key");
        fs::write(&file, b"bytes").expect("a file");
        let signature = key.sign(b"bytes", "version 3").expect("signed");
        fs::write(folder.path().join("f.minisig"), signature).expect("a file");
        let verify = [word("-V"), word("-m"), file.as_os_str(), word("-p"), public_arg];
        assert!(minisign(&verify).expect("it runs").success());
    }

    #[test]
    fn secret_key_needs_its_passphrase_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let files =
            KeyFiles { public: folder.path().join("k.pub"), secret: folder.path().join("k.key") };
        keygen(&files, &Passphrase::Given("right".to_owned())).expect("keys");
        let read = |passphrase| SigningKey::read(&files.secret, &passphrase);
        assert!(read(Passphrase::Given("right".to_owned())).is_ok());
        for passphrase in [Passphrase::None, Passphrase::Given("wrong".to_owned())] {
            assert!(matches!(read(passphrase), Err(DeliverError::Key { .. })));
        }
        let again = keygen(&files, &Passphrase::None);
        assert!(matches!(again, Err(DeliverError::Key { .. })));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&files.secret).expect("a file").permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }
}
