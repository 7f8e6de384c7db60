"""What Lightning's library of metrics is told while it is loaded, and only then."""

from lightning_utilities.core.imports import RequirementCache

from segshift import lightning_import


def test_packages_are_missing_inside_and_there_again_afterwards():
    assert RequirementCache("numpy>=1.0")
    with lightning_import._as_if_not_installed(("numpy",)):
        assert not RequirementCache("numpy>=1.0")
        assert not RequirementCache(module="numpy")
        assert RequirementCache("torch>=2.0")
    assert RequirementCache("numpy>=1.0")
