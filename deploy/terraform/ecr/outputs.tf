output "variables" {
  description = "What the GitHub environment has to hold."
  value = {
    AWS_ROLE_ARN   = aws_iam_role.push.arn
    ECR_API        = aws_ecr_repository.image["docservice"].name
    ECR_AUTOSCALER = aws_ecr_repository.image["celery-pool-autoscaler"].name
  }
}
