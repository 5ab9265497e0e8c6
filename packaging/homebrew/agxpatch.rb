# For a tap: `brew install OWNER/tap/agxpatch`. scripts/package fills in the
# address, the commit and the digest of the source archive it makes.
class Agxpatch < Formula
  desc "Finds, proves and patches the encoder-release race in Apple's M4 GPU driver"
  homepage "@HOMEPAGE@"
  url "@URL@"
  sha256 "@SHA256@"
  license "GPL-2.0-only"

  depends_on "cmake" => :build
  depends_on "rust" => :build
  depends_on arch: :arm64
  depends_on macos: :ventura
  uses_from_macos "python" => :build

  def install
    ENV["AGXPATCH_COMMIT"] = "@COMMIT@"
    system "cargo", "install", *std_cargo_args
    man1.mkpath
    system bin/"agxpatch", "generate", "man", man1
    generate_completions_from_executable(bin/"agxpatch", "generate", "completions")
  end

  def caveats
    <<~TEXT
      See what stands between this Mac and the fix, without changing anything:
        agxpatch doctor
        agxpatch selftest
    TEXT
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/agxpatch --version")
    system bin/"agxpatch", "synth", "driver"
    system bin/"agxpatch", "patch", "driver", "-o", "patched"
    system bin/"agxpatch", "verify", "--file", "patched"
  end
end
