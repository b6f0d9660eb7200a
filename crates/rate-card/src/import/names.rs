//! Names by the source's rule (the first model that fits) into names by the card's (exact, dated, the longest pattern).

use std::collections::BTreeSet;

use fluxori_core::id::Model;
use fluxori_core::rates::NamePattern;

use super::genai::{GenaiProvider, NameRule};
use super::report::Report;

/// Under which names a model stands in the card.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) aliases: Vec<Model>,
    pub(super) patterns: Vec<NamePattern>,
}

/// The names of each model of a provider that has a price; what two models claim is the first one's.
pub(super) fn of_provider(provider: &GenaiProvider, report: &mut Report) -> Vec<Names> {
    let mut taken: BTreeSet<String> = provider.models.iter().map(|model| model.id.to_string()).collect();
    let mut taken_patterns = BTreeSet::new();
    let names = provider.models.iter().map(|model| {
        let mut names = Names::default();
        let entry = format!("{}/{}", provider.id, model.id);
        for rule in model.rule.alternatives() {
            let pattern = match rule {
                NameRule::Equals(name) => {
                    if *name != *model.id.as_str() && taken.insert(name.clone()) {
                        names.aliases.extend(name.parse::<Model>());
                    }
                    continue;
                }
                NameRule::StartsWith(text) => NamePattern::StartsWith(text.as_str().into()),
                NameRule::EndsWith(text) => NamePattern::EndsWith(text.as_str().into()),
                NameRule::Contains(text) => NamePattern::Contains(text.as_str().into()),
                NameRule::Dated(stem) if model.rule.fits(stem) => continue,
                NameRule::Dated(stem) => {
                    report.left_out(
                        "a name with a date whose name without it is none",
                        &format!("{entry}: {stem}"),
                    );
                    continue;
                }
                NameRule::Regex(regex) => {
                    report.left_out("a regular expression for names", &format!("{entry}: {regex}"));
                    continue;
                }
                NameRule::Any(_) | NameRule::All(_) => {
                    report.left_out("a rule for names of several conditions", &entry);
                    continue;
                }
            };
            if taken_patterns.insert(pattern.clone()) {
                names.patterns.push(pattern);
            }
        }
        names.aliases.sort();
        names.patterns.sort();
        names
    });
    names.collect()
}
