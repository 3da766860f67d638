#pragma once

#include <openvino/runtime/core.hpp>

namespace hrvit {

/// Have the quantized products of a model run in float where 8-bit ones overflow.
///
/// Without VNNI an x86 adds pairs of them in 16 bits, which full-range weights exceed
/// (OpenVINO documentation, "Saturation (overflow) issue"); nothing but trying tells.
void keep_from_overflowing(ov::Core& core, const ov::Model& model, ov::AnyMap& config);

}  // namespace hrvit
