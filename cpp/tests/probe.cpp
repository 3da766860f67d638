/// One piece of the library at a time, between raw files: what the tests in Python compare.
///
/// Images are `H W FILE`, of `H x W x 3` bytes; arrays are raw in native byte order. An error
/// is `KIND: what`, and exit status 1.
#include <atomic>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "cores.hpp"
#include "decide.hpp"
#include "hrvit/session.hpp"
#include "prepare.hpp"
#include "read_image.hpp"
#include "resize.hpp"

namespace {

using Words = std::vector<std::string>;

std::size_t number(const std::string& word) { return std::stoul(word); }

hrvit::ImageSize size_at(const Words& words, std::size_t place) {
    return {number(words.at(place)), number(words.at(place + 1))};
}

char* bytes_at(void* memory) { return static_cast<char*>(memory); }
const char* bytes_at(const void* memory) { return static_cast<const char*>(memory); }

template <typename Value>
std::vector<Value> load(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    std::vector<Value> values(static_cast<std::size_t>(file.tellg()) / sizeof(Value));
    file.seekg(0);
    file.read(bytes_at(values.data()),
              static_cast<std::streamsize>(values.size() * sizeof(Value)));
    return values;
}

template <typename Value>
void save(const std::string& path, const std::vector<Value>& values) {
    std::ofstream file(path, std::ios::binary | std::ios::app);
    file.write(bytes_at(values.data()),
               static_cast<std::streamsize>(values.size() * sizeof(Value)));
}

/// Images from that word on.
std::vector<hrvit::Image> images_from(const Words& words, std::size_t place) {
    std::vector<hrvit::Image> images;
    for (; place < words.size(); place += 3) {
        images.emplace_back(size_at(words, place));
        images.back().pixels = load<std::uint8_t>(words.at(place + 2));
    }
    return images;
}

std::vector<hrvit::ImageView> views_of(const std::vector<hrvit::Image>& images) {
    std::vector<hrvit::ImageView> views;
    views.reserve(images.size());
    for (const hrvit::Image& image : images) {
        views.push_back(image.view());
    }
    return views;
}

/// `resize OUT HEIGHT WIDTH image`
void resize(const Words& words) {
    const auto images = images_from(words, 3);
    save(words.at(0), hrvit::resize(images.at(0).view(), size_at(words, 1)).pixels);
}

hrvit::Fit fit_of(const std::string& word) {
    return word == "pad" ? hrvit::Fit::Pad : hrvit::Fit::Stretch;
}

/// `prepare OUT MODEL FIT BATCH images`
void prepare(const Words& words) {
    const auto images = images_from(words, 4);
    const auto manifest = hrvit::open_artefact(words.at(1)).manifest;
    const auto tensor = hrvit::prepare(views_of(images), manifest.preparation,
                                       fit_of(words.at(2)), number(words.at(3)));
    std::visit([&](const auto& values) { save(words.at(0), values); }, tensor.values);
}

/// `decide OUT SCORES CLASSES stored input part wanted`
void decide(const Words& words) {
    const auto values = load<float>(words.at(1));
    const hrvit::ScoreMaps scores{values.data(), number(words.at(2)), size_at(words, 3),
                                  size_at(words, 5), size_at(words, 7)};
    save(words.at(0), hrvit::decide(scores, size_at(words, 9)).labels);
}

/// `answer OUT MODEL FIT BATCH images`
void answer(const Words& words) {
    const auto images = images_from(words, 4);
    hrvit::SessionOptions options;
    options.fit = fit_of(words.at(2));
    options.batch = number(words.at(3));
    const hrvit::Session session(words.at(1), options);
    if (session.manifest().task == hrvit::Task::Segment) {
        for (const auto& map : session.segment(views_of(images))) {
            save(words.at(0), map.labels);
        }
        return;
    }
    for (const auto& shares : session.classify(views_of(images))) {
        save(words.at(0), shares);
    }
}

/// `raw OUT MODEL TYPE IN shape`
void raw(const Words& words) {
    hrvit::Tensor input;
    for (std::size_t i = 4; i < words.size(); ++i) {
        input.shape.push_back(number(words.at(i)));
    }
    if (words.at(2) == "uint8") {
        input.values = load<std::uint8_t>(words.at(3));
    } else {
        input.values = load<float>(words.at(3));
    }
    const auto output = hrvit::Session(words.at(1)).run(input);
    std::visit([&](const auto& values) { save(words.at(0), values); }, output.values);
}

/// `share MODEL THREADS CALLS PARALLEL image`: how many answers of a session that threads
/// share are those of a single one.
void share(const Words& words) {
    const auto images = images_from(words, 4);
    hrvit::SessionOptions options;
    options.parallel = number(words.at(3));
    const hrvit::Session session(words.at(0), options);
    const auto expected = session.segment(images.at(0).view()).labels;
    std::atomic<std::size_t> alike{0};
    std::vector<std::future<void>> threads;
    for (std::size_t i = 0; i < number(words.at(1)); ++i) {
        threads.push_back(std::async(std::launch::async, [&] {
            for (std::size_t call = 0; call < number(words.at(2)); ++call) {
                alike += session.segment(images.at(0).view()).labels == expected ? 1 : 0;
            }
        }));
    }
    for (auto& thread : threads) {
        thread.get();
    }
    std::cout << alike << '\n';
}

/// `classes MODEL`: a line each, as `name<tab>red green blue<tab>whether it is clear`.
void classes(const Words& words) {
    for (const auto& info : hrvit::choose_classes(hrvit::open_artefact(words.at(0)).manifest)) {
        std::cout << info.name << '\t';
        for (const int part : info.colour) {
            std::cout << part << ' ';
        }
        std::cout << '\t' << info.clear << '\n';
    }
}

/// `read OUT FILE`: decode an image, and print its size.
void read(const Words& words) {
    const auto image = infer::read_image(words.at(1));
    std::cout << image.size.height << ' ' << image.size.width << '\n';
    save(words.at(0), image.pixels);
}

/// `view MODEL HEIGHT WIDTH STRIDE`: answer a view of too few bytes to look at.
void view(const Words& words) {
    const std::vector<std::uint8_t> pixels(3);
    const hrvit::Session session(words.at(0));
    static_cast<void>(session.segment(
        hrvit::ImageView{pixels.data(), size_at(words, 1), number(words.at(3))}));
}

/// `stride OUT MODEL PADDING image`: the answer where rows do not follow each other at once.
void stride(const Words& words) {
    const auto images = images_from(words, 3);
    const auto [height, width] = images.at(0).size;
    const std::size_t bytes = (width * 3) + number(words.at(2));
    std::vector<std::uint8_t> pixels(height * bytes, 0xAA);
    for (std::size_t y = 0; y < height; ++y) {
        std::copy_n(images.at(0).view().row(y), width * 3,
                    pixels.begin() + static_cast<std::ptrdiff_t>(y * bytes));
    }
    const hrvit::Session session(words.at(1));
    const hrvit::ImageView padded{pixels.data(), images.at(0).size, bytes};
    save(words.at(0), session.segment(padded).labels);
}

/// `cores`
void cores(const Words& /*words*/) { std::cout << hrvit::usable_cores() << '\n'; }

std::string kind_of(const hrvit::Error& error) {
    if (dynamic_cast<const hrvit::UsageError*>(&error) != nullptr) {
        return "UsageError";
    }
    if (dynamic_cast<const hrvit::ArtefactError*>(&error) != nullptr) {
        return "ArtefactError";
    }
    if (dynamic_cast<const hrvit::InputError*>(&error) != nullptr) {
        return "InputError";
    }
    if (dynamic_cast<const hrvit::MissingDependency*>(&error) != nullptr) {
        return "MissingDependency";
    }
    return dynamic_cast<const hrvit::RunnerError*>(&error) != nullptr ? "RunnerError" : "Error";
}

}  // namespace

int main(int count, char** arguments) {
    const Words words(arguments + 1, arguments + count);
    const std::map<std::string, std::function<void(const Words&)>> commands{
        {"answer", answer},   {"classes", classes}, {"cores", cores}, {"decide", decide},
        {"prepare", prepare}, {"raw", raw},         {"read", read},   {"resize", resize},
        {"share", share},     {"stride", stride},   {"view", view},
    };
    try {
        commands.at(words.at(0))(Words(words.begin() + 1, words.end()));
    } catch (const hrvit::Error& error) {
        std::cerr << kind_of(error) << ": " << error.what() << '\n';
        return 1;
    }
    return 0;
}
