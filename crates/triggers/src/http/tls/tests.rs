use std::fs;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, date_time_ymd};
use tempfile::TempDir;

use super::*;

/// A folder with files of certificates that sign themselves.
pub(in crate::http) struct Issued(TempDir);

impl Issued {
    pub(in crate::http) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Writes a certificate for `names`, over the one that was in the same files.
    pub(in crate::http) fn issue(&self, files: &str, names: &[&str]) -> CertificateFiles {
        self.issue_with(files, names, &KeyPair::generate().unwrap(), |_| {})
    }

    fn issue_with(
        &self,
        files: &str,
        names: &[&str],
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        CertificateFiles {
            chain: self.write(&format!("{files}.pem"), &params.self_signed(key).unwrap().pem()),
            key: self.write(&format!("{files}.key"), &key.serialize_pem()),
        }
    }

    fn write(&self, file: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(file);
        fs::write(&path, content).unwrap();
        path
    }
}

fn by_name(files: &[CertificateFiles]) -> ByName {
    let provider = ring::default_provider();
    ByName(files.iter().map(|files| Arc::new(read_key(files, &provider).unwrap())).collect())
}

const BOTH: [SignatureScheme; 2] =
    [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

/// Which of the certificates is chosen.
fn chosen(keys: &ByName, name: Option<&str>, schemes: &[SignatureScheme]) -> usize {
    let key = keys.choose(name, schemes).unwrap();
    keys.0.iter().position(|other| Arc::ptr_eq(other, key)).unwrap()
}

#[test]
fn the_certificate_is_chosen_by_the_servers_name() {
    let issued = Issued::new();
    let keys = by_name(&[
        issued.issue("first", &["first.example"]),
        issued.issue("exact", &["a.apps.example", "apps.example"]),
        issued.issue("wildcard", &["*.apps.example"]),
    ]);
    let chosen = |name| chosen(&keys, Some(name), &BOTH);
    assert_eq!(chosen("first.example"), 0);
    assert_eq!(chosen("apps.example"), 1);
    assert_eq!(chosen("A.Apps.Example"), 1, "valid for two, of which it is the first");
    assert_eq!(chosen("b.apps.example"), 2);
}

#[test]
fn without_a_name_that_fits_the_first_certificate_is_shown() {
    let issued = Issued::new();
    let keys = by_name(&[issued.issue("a", &["a.example"]), issued.issue("b", &["*.b.example"])]);
    assert_eq!(chosen(&keys, None, &BOTH), 0);
    for name in ["c.example", "b.example", "a.b.b.example", "not a name", ""] {
        assert_eq!(chosen(&keys, Some(name), &BOTH), 0, "{name}");
    }
}

#[test]
fn among_certificates_for_a_name_the_client_gets_one_that_it_can_verify() {
    let issued = Issued::new();
    let [ecdsa, ed25519] =
        [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519].map(|kind| KeyPair::generate_for(kind).unwrap());
    let keys = by_name(&[
        issued.issue_with("a", &["a.example"], &ed25519, |_| {}),
        issued.issue_with("b", &["b.example"], &ed25519, |_| {}),
        issued.issue_with("c", &["b.example"], &ecdsa, |_| {}),
    ]);
    assert_eq!(chosen(&keys, Some("b.example"), &BOTH), 1);
    assert_eq!(chosen(&keys, Some("b.example"), &BOTH[..1]), 2);
    assert_eq!(chosen(&keys, None, &BOTH[..1]), 2, "better than none");
    assert_eq!(chosen(&keys, None, &[]), 0, "no handshake will come of it");
}

#[test]
fn a_certificate_that_has_expired_is_served() {
    let issued = Issued::new();
    let key = KeyPair::generate().unwrap();
    let files = issued.issue_with("a", &["a.example"], &key, |params| {
        params.not_after = date_time_ymd(2000, 1, 1);
    });
    Certificates::read(&[files]).unwrap();
}

#[test]
fn what_is_no_certificate_with_its_key_is_refused() {
    let issued = Issued::new();
    let good = issued.issue("good", &["a.example"]);
    let other = issued.issue("other", &["a.example"]);
    let gone = issued.0.path().join("gone");
    let empty = issued.write("empty", "");
    let cut = fs::read_to_string(&good.chain).unwrap().replace("-----END", "");
    let cut = issued.write("cut", &cut);
    let der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let malformed = issued.write("malformed", der);
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let unusable = issued.write("unusable", key);
    let encrypted = issued.write("encrypted", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"));

    // A chain, a key, what is wrong with them, and how the help begins.
    let cases: &[(&PathBuf, &PathBuf, &str, &str)] = &[
        (&gone, &good.key, "can't read `DIR/gone`: No such file", "check the path"),
        (&good.chain, &gone, "can't read `DIR/gone`: No such file", "check the path"),
        (&empty, &good.key, "there is no certificate in `DIR/empty`", "the chain's file must"),
        (&good.key, &good.chain, "there is no certificate in `DIR/good.key`", "the chain's file"),
        (&good.chain, &empty, "there is no private key in `DIR/empty`", "the key's file must"),
        (&good.chain, &good.chain, "there is no private key in `DIR/good.pem`", "the key's file"),
        (&cut, &good.key, "`DIR/cut` is not valid PEM: ", "the file must be text"),
        (&malformed, &good.key, "the first certificate in `DIR/malformed` is malformed", ""),
        (&good.chain, &unusable, "the private key in `DIR/unusable` can't be used", "use ECDSA"),
        (&good.chain, &encrypted, "the private key in `DIR/encrypted` needs", "take the password"),
        (
            &good.chain,
            &other.key,
            "the private key in `DIR/other.key` does not belong to the first certificate in \
             `DIR/good.pem`",
            "the server's own certificate must be the first",
        ),
    ];
    for &(chain, key, problem, help) in cases {
        let files = CertificateFiles { chain: chain.clone(), key: key.clone() };
        let error = Certificates::read(&[good.clone(), files]).unwrap_err();
        let folder = issued.0.path().display().to_string();
        let message = error.to_string().replace(&folder, "DIR");
        assert!(message.starts_with(problem), "{message}");
        let advice = error.help().unwrap_or_default();
        assert!(advice.starts_with(help) && advice.is_empty() == help.is_empty(), "{advice}");
    }
    let error = Certificates::read(&[]).unwrap_err();
    assert!(matches!(error, CertificateError::None));
}

#[test]
fn chain_and_key_may_stand_in_one_file() {
    let issued = Issued::new();
    let CertificateFiles { chain, key } = issued.issue("a", &["a.example"]);
    let both = [key, chain].map(|file| fs::read_to_string(file).unwrap()).concat();
    let both = issued.write("both", &both);
    Certificates::read(&[CertificateFiles { chain: both.clone(), key: both }]).unwrap();
}

#[test]
fn files_that_have_changed_are_noticed_and_read_again() {
    let issued = Issued::new();
    let files = issued.issue("a", &["a.example"]);
    let certificates = Certificates::read(&[files]).unwrap();
    let first = certificates.config();
    assert!(!certificates.has_changed());

    // As programs do it that renew: beside the old ones, and then over them.
    let new = issued.issue("new", &["a.example"]);
    fs::rename(&new.chain, issued.0.path().join("a.pem")).unwrap();
    assert!(certificates.has_changed());
    let error = certificates.reload().unwrap_err();
    assert!(matches!(error, CertificateError::Mismatch { .. }), "one of two is there");
    assert!(Arc::ptr_eq(&first, &certificates.config()), "the old one is served on");
    assert!(certificates.has_changed(), "to be tried again");

    fs::rename(&new.key, issued.0.path().join("a.key")).unwrap();
    certificates.reload().unwrap();
    assert!(!Arc::ptr_eq(&first, &certificates.config()));
    assert!(!certificates.has_changed());
}

#[test]
fn a_link_that_leads_elsewhere_and_a_file_that_is_gone_are_changes() {
    let issued = Issued::new();
    let [a, b] = ["a", "b"].map(|files| issued.issue(files, &["a.example"]));
    let link = |target: &CertificateFiles| {
        for (name, target) in [("chain", &target.chain), ("key", &target.key)] {
            let link = issued.0.path().join(name);
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(target, link).unwrap();
        }
    };
    link(&a);
    let files =
        CertificateFiles { chain: issued.0.path().join("chain"), key: issued.0.path().join("key") };
    let certificates = Certificates::read(std::slice::from_ref(&files)).unwrap();
    assert!(!certificates.has_changed());
    link(&b);
    assert!(certificates.has_changed());
    certificates.reload().unwrap();
    assert!(!certificates.has_changed());
    fs::remove_file(&files.key).unwrap();
    assert!(certificates.has_changed());
    certificates.reload().unwrap_err();
}

#[test]
fn other_files_replace_those_that_are_served() {
    let issued = Issued::new();
    let certificates = Certificates::read(&[issued.issue("a", &["a.example"])]).unwrap();
    let first = certificates.config();
    certificates.replace(&[]).unwrap_err();
    assert!(Arc::ptr_eq(&first, &certificates.config()));
    let b = issued.issue("b", &["b.example"]);
    certificates.replace(std::slice::from_ref(&b)).unwrap();
    assert_eq!(format!("{certificates:?}"), format!("Certificates([{b:?}])"));
    fs::remove_file(b.key).unwrap();
    assert!(certificates.has_changed());
}
