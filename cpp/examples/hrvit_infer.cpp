/// Overlays, label maps and latencies of a model on a few images: a whole program around hrvit::Session.
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <exception>
#include <future>
#include <iostream>
#include <mutex>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "arguments.hpp"
#include "hrvit/session.hpp"
#include "overlay.hpp"
#include "read_image.hpp"
#include "report.hpp"

namespace infer {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// An image to answer, and where its overlay and its label map go.
struct Job {
    fs::path image;
    fs::path overlay;
    fs::path labels;
};

/// No two images share a name.
std::vector<Job> jobs_for(const Arguments& arguments) {
    std::vector<Job> jobs;
    std::set<std::string> taken;
    for (const fs::path& image : arguments.images) {
        const std::string stem = image.stem().string();
        std::string name = stem;
        for (int count = 2; !taken.insert(name).second; ++count) {
            name = stem + "-" + std::to_string(count);
        }
        jobs.push_back({image, arguments.out / (name + "-overlay.png"),
                        arguments.out / (name + "-labels.png")});
    }
    return jobs;
}

/// Answers jobs; several threads may call it, and each takes the next.
class Work {
  public:
    Work(const hrvit::Session& session, const Arguments& arguments)
        : session_(session), repeat_(arguments.repeat), jobs_(jobs_for(arguments)) {}

    void run() {
        for (std::size_t i = next_++; i < jobs_.size(); i = next_++) {
            try {
                answer(jobs_[i]);
            } catch (const hrvit::Error& error) {
                const std::lock_guard lock(printing_);
                std::cerr << "error: " << hrvit::printable(error.what()) << '\n';
                ++failed_;
            }
        }
    }

    [[nodiscard]] std::size_t failed() const { return failed_; }
    [[nodiscard]] const std::vector<double>& latencies_ms() const { return latencies_ms_; }

  private:
    /// The answer; the first run, which warms up, is not counted.
    template <typename Ask>
    auto timed(Ask ask) {
        auto found = ask();
        std::vector<double> spent;
        for (std::size_t i = 0; i < repeat_; ++i) {
            const auto start = Clock::now();
            found = ask();
            spent.push_back(
                std::chrono::duration<double, std::milli>(Clock::now() - start).count());
        }
        const std::lock_guard lock(printing_);
        latencies_ms_.insert(latencies_ms_.end(), spent.begin(), spent.end());
        return found;
    }

    void answer(const Job& job) {
        const hrvit::Image picture = read_image(job.image);
        std::string line = job.image.string();
        if (session_.manifest().task == hrvit::Task::Segment) {
            const auto labels = timed([&] { return session_.segment(picture.view()); });
            write_png(draw_overlay(picture, labels, session_.classes()), job.overlay);
            write_labels(labels, session_.classes(), job.labels);
            line += " -> " + job.overlay.string() + ", " + job.labels.string() + ": " +
                    listed(shares_of(labels, session_.classes()));
        } else {
            const auto shares = timed([&] { return session_.classify(picture.view()); });
            line += ": " + listed(likeliest(shares, session_.classes()));
        }
        const std::lock_guard lock(printing_);
        std::cout << hrvit::printable(line) << '\n';
    }

    const hrvit::Session& session_;
    std::size_t repeat_;
    std::vector<Job> jobs_;
    std::atomic<std::size_t> next_{0};
    std::atomic<std::size_t> failed_{0};
    std::mutex printing_;
    std::vector<double> latencies_ms_;
};

void make_folder(const fs::path& folder) {
    std::error_code failed;
    fs::create_directories(folder, failed);
    if (failed) {
        throw hrvit::InputError(
            "cannot make folder " + folder.string() + ": " + failed.message(),
            "choose one you may write to with --out");
    }
    // Found out before anything is computed.
    if (::access(folder.c_str(), W_OK | X_OK) != 0) {
        throw hrvit::InputError("cannot write to folder " + folder.string() + ": " +
                                    std::generic_category().message(errno),
                                "choose one you may write to with --out");
    }
}

int answer_all(const Arguments& arguments) {
    const hrvit::Session session(arguments.model, arguments.session);
    std::cout << described(session) << '\n';
    if (session.manifest().task == hrvit::Task::Segment) {
        make_folder(arguments.out);
    }
    Work work(session, arguments);
    std::vector<std::future<void>> helpers;
    for (std::size_t i = 1; i < arguments.session.parallel; ++i) {
        helpers.push_back(std::async(std::launch::async, [&work] { work.run(); }));
    }
    work.run();
    for (auto& helper : helpers) {
        helper.get();
    }
    if (!work.latencies_ms().empty()) {
        std::cout << "latency " << percentiles(work.latencies_ms()) << " over "
                  << work.latencies_ms().size()
                  << " answers, each from pixels to labels, runs at once "
                  << arguments.session.parallel << '\n';
    }
    return work.failed() == 0 ? 0 : 1;
}

int run(const std::vector<std::string>& words) {
    try {
        const auto arguments = parse(words);
        if (!arguments) {
            std::cout << usage;
            return 0;
        }
        return answer_all(*arguments);
    } catch (const hrvit::UsageError& error) {
        std::cerr << "error: " << hrvit::printable(error.what()) << '\n';
        return 2;
    } catch (const std::exception& error) {
        std::cerr << "error: " << hrvit::printable(error.what()) << '\n';
        return 1;
    }
}

}  // namespace
}  // namespace infer

int main(int count, char** words) {
    return infer::run(std::vector<std::string>(words + 1, words + count));
}
