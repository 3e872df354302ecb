import pytest
from huggingface_hub import constants

from leaf_st.errors import InputError
from leaf_st.hub.settings import require_connection_settings, require_hub_settings
from leaf_st.models.find import find_model

PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")


@pytest.fixture(autouse=True)
def _settings(monkeypatch, tmp_path):
    """An environment without settings of the machine, and a hub that nothing answers for."""
    for name in (*PROXIES, *map(str.lower, PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080", "ALL_PROXY: .* found a SOCKS proxy, which needs the package socksio"),
        ("HTTPS_PROXY", "http://me:secret@127.0.0.1:abc", r"HTTPS_PROXY: .* cannot be read \(127\.0\.0\.1:abc\)"),
        ("https_proxy", "ftp://127.0.0.1:3", "https_proxy: .* which does not begin with http://"),
        ("HTTP_PROXY", "http://", "HTTP_PROXY: .* which names no host"),
        ("SSL_CERT_FILE", "/nope.pem", "SSL_CERT_FILE: expected certificates, found no such file /nope.pem"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE: expected certificates, found .* which cannot be read"),
        ("SSL_CERT_DIR", "/nope", "SSL_CERT_DIR: expected certificates, found no such folder /nope"),
    ],
)
def test_a_connection_that_cannot_work_names_its_variable(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"^{message}") as refused:
        require_connection_settings()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("value", ["127.0.0.1:3128", "http://127.0.0.1:3128", "https://me:secret@proxy.example:1"])
def test_a_proxy_that_can_work_passes(monkeypatch, value):
    monkeypatch.setenv("ALL_PROXY", value)
    require_connection_settings()


@pytest.mark.parametrize("endpoint", ["hf-mirror.com", "ftp://hub", "http://", "http://127.0.0.1:abc", "http://a b"])
def test_an_address_that_is_none_is_named_at_once(monkeypatch, endpoint):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waits {seconds} s"))
    with pytest.raises(InputError, match=r"^model us/tiny: .* the hub cannot be asked: HF_ENDPOINT: expected the addr"):
        find_model("us/tiny")


def test_a_token_that_no_header_can_contain_is_not_printed(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_schlüssel")
    with pytest.raises(InputError, match="HF_TOKEN") as refused:
        require_hub_settings()
    assert "schl" not in str(refused.value)


def test_a_cache_that_cannot_be_created_names_its_variable(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/proc/nope/hub")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", "/proc/nope")
    with pytest.raises(InputError, match=r"^HF_HOME: expected a folder for downloads, found /proc/nope/hub"):
        require_hub_settings()


def test_a_local_folder_needs_no_setting(monkeypatch, tiny_teacher_folder):
    monkeypatch.setattr(constants, "ENDPOINT", "nothing")
    assert find_model(str(tiny_teacher_folder)) == tiny_teacher_folder
