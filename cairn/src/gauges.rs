//! Gauges whose values are looked up when somebody asks for them.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};

/// A label's name and value.
pub(crate) type Label = (&'static str, String);

/// Writes a gauge of one value.
pub(crate) fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}

/// Writes a gauge of a value for each set of labels.
pub(crate) fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Vec<Label>, f64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// 1 for yes, 0 for no.
pub(crate) fn truth(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// A point in time, as Prometheus counts it.
pub(crate) fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Registers a gauge whose one value `value` gives.
pub(crate) fn register(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    value: impl Fn() -> f64 + Send + Sync + 'static,
) {
    let value = Box::new(value);
    registry.register_collector(Box::new(LookedUp { name, help, value }));
}

struct LookedUp {
    name: &'static str,
    help: &'static str,
    value: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl Collector for LookedUp {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        gauge(&mut encoder, self.name, self.help, (self.value)())
    }
}

impl fmt::Debug for LookedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LookedUp").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[derive(Debug)]
    struct Two;

    impl Collector for Two {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            gauge(&mut encoder, "cairn_one", "One", truth(true))?;
            let values = ["1", "2"].map(|disk| (vec![("disk", disk.to_owned())], 0.5));
            family(&mut encoder, "cairn_many", "Many", values)
        }
    }

    #[test]
    fn values_are_those_of_the_moment() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Two));
        register(&mut registry, "cairn_end_seconds", "End", || unix_seconds(UNIX_EPOCH));
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        for line in [
            "cairn_one 1.0",
            "cairn_many{disk=\"1\"} 0.5",
            "cairn_many{disk=\"2\"} 0.5",
            "cairn_end_seconds 0.0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
    }
}
