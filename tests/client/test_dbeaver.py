"""The driver description for DBeaver says what is true of the driver and of the server."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest

from flight_server.ops.settings import load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "dbeaver"
DRIVER_CLASS = "org.apache.arrow.driver.jdbc.ArrowFlightJdbcDriver"
JARS = sorted(ROOT.glob(".venv-clients/jdbc/lib/flight-sql-jdbc-driver-*.jar"))


@pytest.fixture(scope="module")
def driver() -> ET.Element:
    # DBeaver looks for drivers in the elements of their providers.
    found = ET.parse(FOLDER / "drivers.xml").getroot().findall("./provider[@id='generic']/driver")
    assert len(found) == 1
    return found[0]


def test_the_description_names_the_driver(driver: ET.Element) -> None:
    assert driver.get("class") == DRIVER_CLASS
    libraries = [library.get("path") or "" for library in driver.findall("library")]
    assert len(libraries) == 1
    assert re.fullmatch(
        r"maven:/org\.apache\.arrow:flight-sql-jdbc-driver:\d+\.\d+\.\d+", libraries[0]
    )


def test_the_url_is_one_of_the_drivers(driver: ET.Element) -> None:
    template = driver.get("url") or ""
    assert template.startswith("jdbc:arrow-flight-sql://{host}:{port}/")
    assert template.count("[") == template.count("]") == 1  # what may be left out
    assert re.findall(r"\{(\w+)\}", template) == ["host", "port", "database"]


def test_the_port_is_the_servers() -> None:
    settings = load(None, {}, environ={})
    port = ET.parse(FOLDER / "drivers.xml").getroot().find("./provider/driver")
    assert port is not None
    assert port.get("port") == str(settings.server.port)


def test_the_page_says_the_same(driver: ET.Element) -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    library = driver.find("library")
    assert library is not None
    for value in (driver.get("class"), driver.get("url"), (library.get("path") or "")[7:]):
        assert f"`{value}`" in page
    assert "--add-opens=java.base/java.nio=ALL-UNNAMED" in page


@pytest.mark.skipif(not JARS, reason="the JDBC driver is not installed: run `make clients`")
@pytest.mark.parametrize("jar", JARS, ids=lambda jar: jar.name)
def test_the_driver_has_this_class(jar: Path) -> None:
    with zipfile.ZipFile(jar) as archive:
        services = archive.read("META-INF/services/java.sql.Driver").decode()
    assert DRIVER_CLASS in services.splitlines()
