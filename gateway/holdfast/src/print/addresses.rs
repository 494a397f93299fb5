//! Tables about floating addresses.

use admin::AddressView;

use super::table;

/// Floating addresses, a line each.
pub fn addresses(all: &[AddressView]) -> String {
    if all.is_empty() {
        return "no floating addresses; `[floating]` in the configuration offers them\n".to_owned();
    }
    let rows = all.iter().map(|address| {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            address.address.clone(),
            address.interface.clone(),
            address.holder.clone().unwrap_or_else(|| "NOBODY".to_owned()),
            or_none(&address.since),
            or_none(&address.cause),
            address.offered_by.join(", "),
        ]
    });
    let header = ["FLOATING", "INTERFACE", "HELD BY", "SINCE", "CAUSE", "OFFERED BY"];
    table(&header, rows.collect())
}
