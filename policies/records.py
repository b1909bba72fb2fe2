"""Who may read the records of the audit log, and through which of its views."""

from __future__ import annotations

from policies.names import Principal, Role, TableRef

# Custom roles: the full records, and the records as the privacy table shows them.
AUDITOR = "auditor"
AUDIT_ANALYST = "audit_analyst"

AUDIT_LOG = TableRef("system", "audit", "audit_log")
# The records as the privacy table shows them.
AUDIT_VIEW = TableRef("system", "audit", "audit_view")
# What each user did: of oneself, of everybody for those who may read the log.
ACTIVITY = TableRef("system", "usage", "activity")
USER_ACTIONS = TableRef("system", "usage", "user_actions")
BILLING_SUMMARY = TableRef("system", "usage", "billing_summary")
USAGE_VIEWS = frozenset({ACTIVITY, USER_ACTIONS, BILLING_SUMMARY})
# The same under the name of its schema, for those who may read the log.
ALL_USER_ACTIONS = TableRef("system", "audit", "user_actions")


def reads_everybody(principal: Principal) -> bool:
    """Whether somebody may read the full records of everybody."""
    if principal.role is Role.PENDING:
        return False
    return principal.is_admin or AUDITOR in principal.custom_roles


def reads_records(principal: Principal, ref: TableRef) -> bool:
    """Whether this is the log or a view of it that somebody may read without any grant."""
    if principal.role is Role.PENDING:
        return False
    if ref in USAGE_VIEWS:
        return True
    if ref == AUDIT_VIEW and AUDIT_ANALYST in principal.custom_roles:
        return True
    return ref in (AUDIT_LOG, AUDIT_VIEW, ALL_USER_ACTIONS) and reads_everybody(principal)
