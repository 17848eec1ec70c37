"""An external scaler for KEDA: it sizes the fleet by what the autoscaler knows; pools are the daemon's.

``fleet`` looks at the workers as the daemon does and never acts, ``question`` is what a ScaledObject asks
for, ``answer`` computes the reply (pure), ``scaler`` joins them, ``messages`` is the interface, and
``server`` serves it. Needs the extra ``keda``.
"""
