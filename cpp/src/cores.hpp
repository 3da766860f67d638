#pragma once

#include <cstddef>

namespace hrvit {

/// Physical cores this process may use: its affinity, within a container's quota.
///
/// The libraries' own defaults look at the whole machine and start more threads than a
/// pinned or limited process can run; two threads of one core share its multipliers.
[[nodiscard]] std::size_t usable_cores();

}  // namespace hrvit
