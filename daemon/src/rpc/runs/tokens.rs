use tonic::Status;
use uuid::Uuid;
use windlass_core::RunId;
use windlass_proto::api::v1::ErrorReason;

use crate::{rpc::status::status, store::listing::Filter};

/// Bytes of a token that prove who made it.
const PROOF_BYTES: usize = 16;

/// The token of the page below `run` of that listing.
pub(super) fn make(key: &[u8; 32], filter: &Filter, run: RunId) -> String {
    let proof = proof(key, filter, run);
    run.0.as_bytes().iter().chain(&proof).map(|byte| format!("{byte:02x}")).collect()
}

/// The run below which the page begins; only for the very listing that the token came from.
pub(super) fn read(key: &[u8; 32], filter: &Filter, token: &str) -> Result<Option<RunId>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let known = || {
        let run = RunId(Uuid::try_parse(token.get(..32)?).ok()?);
        (make(key, filter, run) == token).then_some(run)
    };
    let told = "the page token is not of this listing";
    known().map(Some).ok_or_else(|| status(ErrorReason::PageTokenInvalid, told))
}

fn proof(key: &[u8; 32], filter: &Filter, run: RunId) -> [u8; PROOF_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(run.0.as_bytes());
    hasher.update(format!("{filter:?}").as_bytes());
    let mut bytes = [0; PROOF_BYTES];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_tokens_of_the_same_listing_are_taken() {
        let key = [7; 32];
        let run = RunId(Uuid::from_u128(1 << 100));
        let (all, some) =
            (Filter::default(), Filter { pipeline: Some("p".into()), ..Filter::default() });
        let token = make(&key, &all, run);
        assert_eq!(read(&key, &all, &token).unwrap(), Some(run));
        assert_eq!(read(&key, &all, "").unwrap(), None);
        assert!(read(&key, &some, &token).is_err());
        assert!(read(&[8; 32], &all, &token).is_err());
        for forged in
            ["x", &token[1..], &token.to_uppercase(), &format!("{token}0"), "é".repeat(32).as_str()]
        {
            assert!(read(&key, &all, forged).is_err(), "{forged}");
        }
    }
}
