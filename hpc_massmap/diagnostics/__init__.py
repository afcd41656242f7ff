"""What error bars are worth: functions of samples, intervals and truths, which neither draw nor read."""
