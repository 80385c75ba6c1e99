"""What operators read: failed ECGs, their reasons, throughput, the intake, the audit."""
