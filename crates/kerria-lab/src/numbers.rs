//! Medians and percentiles.

/// The value that half of the others do not exceed.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(values, 50.0)
}

/// The value that `percent` of the others do not exceed. 0 of nothing.
pub(crate) fn percentile(values: impl IntoIterator<Item = f64>, percent: f64) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1)) as f64 * percent / 100.0;
    values.get(at.round() as usize).copied().unwrap_or_default()
}
