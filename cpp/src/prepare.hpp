#pragma once

#include <cstddef>
#include <vector>

#include "hrvit/image.hpp"
#include "hrvit/manifest.hpp"
#include "hrvit/session.hpp"
#include "hrvit/tensor.hpp"

namespace hrvit {

/// The part of the input that shows the picture: all of it, or what its aspect leaves.
[[nodiscard]] ImageSize shown_part(ImageSize picture, ImageSize input, Fit fit);

/// A few images as one batch, filled up with the last of them.
///
/// Bit for bit what `hrvit_deploy.images.prepare` makes: `B x 3 x H x W` float32,
/// normalised; or `B x H x W x 3` uint8.
[[nodiscard]] Tensor prepare(const std::vector<ImageView>& images,
                             const Preparation& preparation, Fit fit, std::size_t batch);

}  // namespace hrvit
