/// A row of the picture at a time, so that no map of its size is held for each class. The
/// order of operations is Python's: the same float32 comes out.
#include "decide.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "taps.hpp"

namespace hrvit {
namespace {

/// `count` floats between two rows.
void mix_rows(const float* top, const float* bottom, float share, std::size_t count,
              float* to) {
    for (std::size_t i = 0; i < count; ++i) {
        to[i] = top[i] + ((bottom[i] - top[i]) * share);
    }
}

/// A row of other length.
void mix_columns(const float* from, const Taps& taps, float* to) {
    const std::size_t count = taps.left.size();
    if (!taps.mixes) {
        for (std::size_t i = 0; i < count; ++i) {
            to[i] = from[taps.left[i]];
        }
        return;
    }
    for (std::size_t i = 0; i < count; ++i) {
        const float left = from[taps.left[i]];
        to[i] = left + ((from[taps.right[i]] - left) * taps.share[i]);
    }
}

/// Rows of score maps at the width of a picture.
class Across {
  public:
    Across(const ScoreMaps& scores, std::size_t width)
        : scores_(scores),
          columns_(Taps::bilinear(scores.part.width, width)),
          width_(width),
          mixed_(scores.stored.width),
          whole_(scores.input.width) {
        if (scores.stored != scores.input) {
            enlarging_.emplace(Taps::bilinear(scores.stored.height, scores.input.height),
                               Taps::bilinear(scores.stored.width, scores.input.width));
        }
    }

    /// Row `index` of the part that shows the picture, `C x W`.
    void read(std::size_t index, std::vector<float>& to) {
        for (std::size_t c = 0; c < scores_.classes; ++c) {
            mix_columns(row(c, index), columns_, to.data() + (c * width_));
        }
    }

  private:
    [[nodiscard]] const float* stored_row(std::size_t c, std::size_t index) const {
        const auto [height, width] = scores_.stored;
        return scores_.values + (((c * height) + index) * width);
    }

    const float* row(std::size_t c, std::size_t index) {
        if (!enlarging_) {
            return stored_row(c, index);
        }
        const auto& [rows, columns] = *enlarging_;
        const float* row = stored_row(c, rows.left[index]);
        if (rows.mixes) {
            mix_rows(row, stored_row(c, rows.right[index]), rows.share[index],
                     scores_.stored.width, mixed_.data());
            row = mixed_.data();
        }
        mix_columns(row, columns, whole_.data());
        return whole_.data();
    }

    ScoreMaps scores_;
    Taps columns_;
    std::size_t width_;
    std::optional<std::pair<Taps, Taps>> enlarging_;
    std::vector<float> mixed_;
    std::vector<float> whole_;
};

/// The last two rows read, so that each is read once.
class RowCache {
  public:
    RowCache(Across across, std::size_t floats)
        : across_(std::move(across)),
          rows_{std::vector<float>(floats), std::vector<float>(floats)} {}

    const float* get(std::size_t index) {
        const std::size_t place = index % 2;
        if (held_.at(place) != index) {
            across_.read(index, rows_.at(place));
            held_.at(place) = index;
        }
        return rows_.at(place).data();
    }

  private:
    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

    Across across_;
    std::array<std::vector<float>, 2> rows_;
    std::array<std::size_t, 2> held_{none, none};
};

/// Who leads in each column, and where a score was not finite.
class Contest {
  public:
    explicit Contest(std::size_t width) : best_(width), finite_(width) {}

    void enter(std::size_t c, const float* scores, std::int32_t* labels) {
        const auto own = static_cast<std::int32_t>(c);
        for (std::size_t x = 0; x < best_.size(); ++x) {
            const float score = scores[x];
            const bool leads = c == 0 || score > best_[x];
            best_[x] = leads ? score : best_[x];
            labels[x] = leads ? own : labels[x];
            const bool finite = std::abs(score) <= std::numeric_limits<float>::max();
            finite_[x] = finite && (c == 0 || finite_[x] != 0) ? 1 : 0;
        }
    }

    void finish(std::int32_t* labels) const {
        for (std::size_t x = 0; x < finite_.size(); ++x) {
            labels[x] = finite_[x] != 0 ? labels[x] : undecided;
        }
    }

  private:
    std::vector<float> best_;
    // As wide as a score, so that compilers do several columns at once.
    std::vector<std::int32_t> finite_;
};

}  // namespace

LabelMap decide(const ScoreMaps& scores, ImageSize size) {
    const Taps rows = Taps::bilinear(scores.part.height, size.height);
    RowCache cache(Across(scores, size.width), scores.classes * size.width);
    Contest contest(size.width);
    std::vector<float> mixed(size.width);
    LabelMap map{size, std::vector<std::int32_t>(size.height * size.width)};
    for (std::size_t y = 0; y < size.height; ++y) {
        const float* top = cache.get(rows.left[y]);
        const float* bottom = rows.mixes ? cache.get(rows.right[y]) : top;
        std::int32_t* labels = map.labels.data() + (y * size.width);
        for (std::size_t c = 0; c < scores.classes; ++c) {
            const std::size_t start = c * size.width;
            if (rows.mixes) {
                mix_rows(top + start, bottom + start, rows.share[y], size.width, mixed.data());
            }
            contest.enter(c, rows.mixes ? mixed.data() : top + start, labels);
        }
        contest.finish(labels);
    }
    return map;
}

LabelMap decide(const ClassMap& map, ImageSize size) {
    const Taps rows = Taps::nearest(map.part.height, size.height);
    const Taps columns = Taps::nearest(map.part.width, size.width);
    LabelMap found{size, {}};
    found.labels.reserve(size.height * size.width);
    for (const std::size_t row : rows.left) {
        const std::uint8_t* from = map.values + (row * map.stored.width);
        for (const std::size_t column : columns.left) {
            const std::uint8_t label = from[column];
            found.labels.push_back(label < map.classes ? label : undecided);
        }
    }
    return found;
}

std::vector<float> softmax(const float* scores, std::size_t classes) {
    std::vector<float> shares(scores, scores + classes);
    const float most = *std::max_element(shares.begin(), shares.end());
    double sum = 0;
    for (float& share : shares) {
        share = std::exp(share - most);
        sum += share;
    }
    for (float& share : shares) {
        share = static_cast<float>(share / sum);
    }
    return shares;
}

}  // namespace hrvit
