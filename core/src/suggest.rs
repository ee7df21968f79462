/// The candidate that a misspelt `name` most likely means, if any is near.
///
/// Near is a Damerau-Levenshtein distance of at most a third of the longer text's length.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| {
        let distance = strsim::damerau_levenshtein(name, candidate);
        (distance * 3 <= name.chars().count().max(candidate.chars().count())).then_some(distance)
    };
    candidates.into_iter().filter_map(|c| Some((near(&c)?, c))).min().map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_the_likely_word_and_nothing_far() {
        let words = ["retry", "run", "timeout"];
        assert_eq!(nearest("retyr", words), Some("retry"));
        assert_eq!(nearest("zzz", words), None);
    }
}
